package redisaddr

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// write makes a file in a directory of the test and returns its path.
func write(t *testing.T, content string) string {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "file")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(content); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

// pair makes the files of a certificate and its key.
func pair(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	public, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	encode := func(what string, der []byte) string {
		return write(t, string(pem.EncodeToMemory(&pem.Block{Type: what, Bytes: der})))
	}
	return encode("CERTIFICATE", public), encode("PRIVATE KEY", secret)
}

func TestPasswordFiles(t *testing.T) {
	for content, want := range map[string]string{
		"p@ss": "p@ss", "p@ss\n": "p@ss", "p@ss\r\n": "p@ss", "two\nlines\n\n": "two\nlines\n", " spaces ": " spaces ",
	} {
		file := write(t, content)
		a, err := Parse("redis+sentinel://u@h/m?password_file=" + file + "&sentinel_password_file=" + file)
		if err != nil || a.Password != want || a.SentinelPassword != want {
			t.Errorf("a file with %q: %v, %v", content, a, err)
		}
	}
	for _, content := range []string{"", "\n", strings.Repeat("x", maxFile+1)} {
		if _, err := Parse("redis://h?password_file=" + write(t, content)); err == nil {
			t.Errorf("a file of %d bytes is taken for a password", len(content))
		}
	}
}

func TestCertificates(t *testing.T) {
	cert, key := pair(t)
	otherCert, otherKey := pair(t)
	a, err := Parse("rediss://h?ca=" + otherCert + "&cert=" + cert + "&key=" + key)
	if err != nil {
		t.Fatal(err)
	}
	want, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	if len(a.TLS.Certificates) != 1 || !a.TLS.Certificates[0].Leaf.Equal(want.Leaf) || a.TLS.RootCAs == nil {
		t.Errorf("%+v", a.TLS)
	}
	if a, err = Parse("rediss://h"); err != nil || a.TLS.RootCAs != nil {
		t.Errorf("without ca: %v, %v", a, err)
	}
	for query, names := range map[string]string{
		"ca=" + key:                           "ca of the address: the file holds no certificate",
		"ca=" + filepath.Dir(cert):            "ca of the address: it is not a regular file",
		"cert=" + cert + "&key=" + otherKey:   "cert and key of the address: ",
		"cert=" + key + "&key=" + cert:        "cert and key of the address: ",
		"cert=" + cert + "&key=" + key + ".x": "key of the address: no such file",
	} {
		if _, err := Parse("rediss://h?" + query); err == nil || !strings.Contains(err.Error(), names) {
			t.Errorf("%s: %v, want %q", query, err, names)
		}
	}
}
