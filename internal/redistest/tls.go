package redistest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TLS are certificates as PEM files, all of them signed by one authority. It is
// given to servers in Options.
type TLS struct {
	// CA is the authority's certificate.
	CA string
	// Cert and Key are what a server shows. It stands for 127.0.0.1 and localhost.
	Cert, Key string
	// ClientCert and ClientKey are what a client shows.
	ClientCert, ClientKey string
	// ExpiredCert and ExpiredKey are a client's of yesterday.
	ExpiredCert, ExpiredKey string
	// OtherCA is an authority that has signed none of these.
	OtherCA string
	// ClientAuth has servers ask clients for a certificate.
	ClientAuth bool

	t      testing.TB
	dir    string
	signer authority
	own    *tls.Config
}

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewTLS makes certificates, in files that end with the test.
func NewTLS(t testing.TB) *TLS {
	t.Helper()
	c := &TLS{t: t, dir: t.TempDir()}
	c.signer, c.CA = c.authority("ca")
	_, c.OtherCA = c.authority("other-ca")
	now := time.Now()
	c.Cert, c.Key = c.sign("server", []string{"localhost", "127.0.0.1"}, now.Add(24*time.Hour))
	c.ClientCert, c.ClientKey = c.sign("client", nil, now.Add(24*time.Hour))
	c.ExpiredCert, c.ExpiredKey = c.sign("expired", nil, now.Add(-24*time.Hour))
	pair, err := tls.LoadX509KeyPair(c.ClientCert, c.ClientKey)
	if err != nil {
		t.Fatal(err)
	}
	// This package looks at servers whose certificate is meant to be wrong too.
	c.own = &tls.Config{Certificates: []tls.Certificate{pair}, InsecureSkipVerify: true}
	return c
}

// WithClientAuth returns the same certificates for servers that ask clients for one.
func (c *TLS) WithClientAuth() *TLS {
	other := *c
	other.ClientAuth = true
	return &other
}

// Expired returns the same certificates, but servers show one of yesterday.
func (c *TLS) Expired() *TLS {
	c.t.Helper()
	other := *c
	other.Cert, other.Key = c.sign("server-expired", []string{"localhost", "127.0.0.1"}, time.Now().Add(-24*time.Hour))
	return &other
}

// For returns the same certificates, but servers show one that stands for a name.
func (c *TLS) For(name string) *TLS {
	c.t.Helper()
	other := *c
	other.Cert, other.Key = c.sign("server-"+name, []string{name}, time.Now().Add(24*time.Hour))
	return &other
}

// arguments are those of redis-server.
func (c *TLS) arguments() []string {
	ask := "no"
	if c.ClientAuth {
		ask = "yes"
	}
	args := []string{
		"--tls-cert-file", c.Cert, "--tls-key-file", c.Key, "--tls-ca-cert-file", c.CA,
		"--tls-auth-clients", ask, "--tls-replication", "yes",
	}
	if c.ClientAuth {
		args = append(args, "--tls-client-cert-file", c.ClientCert, "--tls-client-key-file", c.ClientKey)
	}
	return args
}

func (c *TLS) client(plain net.Conn) net.Conn { return tls.Client(plain, c.own) }

func (c *TLS) authority(name string) (authority, string) {
	c.t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(48 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	key := c.key()
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		c.t.Fatal(err)
	}
	return authority{template, key}, c.write(name+".crt", "CERTIFICATE", der)
}

// sign makes a certificate for hosts, usable by servers and clients.
func (c *TLS) sign(name string, hosts []string, until time.Time) (certFile, keyFile string) {
	c.t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: until,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	key := c.key()
	der, err := x509.CreateCertificate(rand.Reader, template, c.signer.cert, &key.PublicKey, c.signer.key)
	if err != nil {
		c.t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		c.t.Fatal(err)
	}
	return c.write(name+".crt", "CERTIFICATE", der), c.write(name+".key", "PRIVATE KEY", encoded)
}

func (c *TLS) key() *ecdsa.PrivateKey {
	c.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		c.t.Fatal(err)
	}
	return key
}

func (c *TLS) write(name, kind string, der []byte) string {
	c.t.Helper()
	path := filepath.Join(c.dir, name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		c.t.Fatal(err)
	}
	return path
}
