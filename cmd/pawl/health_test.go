package main

import "testing"

func TestLocalAddress(t *testing.T) {
	for address, want := range map[string]string{
		"127.0.0.1:8484": "127.0.0.1:8484",
		":8484":          "127.0.0.1:8484",
		"0.0.0.0:8484":   "127.0.0.1:8484",
		"[::]:8484":      "127.0.0.1:8484",
		"[::1]:8484":     "[::1]:8484",
		"pawl.local:80":  "pawl.local:80",
	} {
		if got := localAddress(address); got != want {
			t.Errorf("a server on %s is reached at %s, want %s", address, got, want)
		}
	}
}
