package server

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"github.com/beckmq/beck"
)

// Listen listens on an address such as 127.0.0.1:8080. There is no authentication
// yet, so it refuses addresses that other machines can reach, unless insecure is
// set.
func Listen(ctx context.Context, address string, insecure bool) (net.Listener, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("%w: listen address %q: give one such as 127.0.0.1:8080", beck.ErrOption, address)
	}
	if !insecure {
		if err := checkLoopback(ctx, address, host); err != nil {
			return nil, err
		}
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%w: can't listen: %w", beck.ErrUnavailable, err)
	}
	return listener, nil
}

func checkLoopback(ctx context.Context, address, host string) error {
	addresses := []string{host}
	if _, err := netip.ParseAddr(host); err != nil && host != "" {
		if addresses, err = net.DefaultResolver.LookupHost(ctx, host); err != nil {
			return fmt.Errorf("%w: listen address %q: %w", beck.ErrOption, address, err)
		}
	}
	for _, a := range addresses {
		if parsed, err := netip.ParseAddr(a); err != nil || !parsed.Unmap().IsLoopback() {
			return fmt.Errorf("%w: refusing to listen on %s: there is no authentication yet, so whoever can reach this address could read, publish and delete everything; listen on 127.0.0.1, or, in a network you trust, allow it with --insecure", beck.ErrOption, address)
		}
	}
	return nil
}
