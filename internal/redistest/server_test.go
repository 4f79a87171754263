package redistest

import (
	"strings"
	"testing"
)

func TestLife(t *testing.T) {
	s := Start(t, "--appendonly", "yes", "--appendfsync", "always")
	if got := s.Do("SET", "a", "1"); got != "OK" {
		t.Fatalf("SET: %q", got)
	}
	s.Kill()
	s.Restart()
	if got := s.Do("GET", "a"); got != "1" {
		t.Errorf("after kill -9 and a restart: %q, want 1", got)
	}
	s.Stop()
	s.Restart()
	if got := s.Do("GET", "a"); got != "1" {
		t.Errorf("after a stop and a restart: %q, want 1", got)
	}
	s.FlushAll()
	if got := s.Do("DBSIZE"); got != "0" {
		t.Errorf("after FlushAll: %q keys, want 0", got)
	}
}

func TestPassword(t *testing.T) {
	s := Start(t, "--requirepass", "sesame")
	if got := s.Do("PING"); got != "PONG" {
		t.Errorf("PING: %q", got)
	}
	if !strings.HasPrefix(s.URL(), "redis://127.0.0.1:") {
		t.Errorf("URL: %q", s.URL())
	}
}
