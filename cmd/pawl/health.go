package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func healthCommand(p *program) *cobra.Command {
	var ready bool
	command := &cobra.Command{
		Use:   "health",
		Short: "Ask a pawl that serves HTTP on this machine how it is",
		Long: `Health asks for /healthz, or with --ready for /readyz, where --listen says. Exit code 0: it is well; 1: it is not, and standard error
says why. An answer may take four seconds. It is for health checks of containers that have no other program.`,
		Args:    cobra.NoArgs,
		GroupID: groupRun,
		RunE: func(command *cobra.Command, _ []string) error {
			s, err := p.settings()
			if err != nil {
				return err
			}
			path := "/healthz"
			if ready {
				path = "/readyz"
			}
			request, err := http.NewRequestWithContext(command.Context(), http.MethodGet, "http://"+reachable(s.Listen)+path, nil)
			if err != nil {
				return err
			}
			direct := &http.Client{Timeout: 4 * time.Second, Transport: &http.Transport{}} // No proxy, for what is on this machine.
			response, err := direct.Do(request)
			if err != nil {
				return err
			}
			defer response.Body.Close()
			said, err := io.ReadAll(io.LimitReader(response.Body, 4096))
			if err == nil && response.StatusCode != http.StatusOK {
				err = fmt.Errorf("%s is %s: %s", path, response.Status, strings.TrimSpace(string(said)))
			}
			return err
		},
	}
	p.settingFlags(command, command.Flags(), "listen")
	command.Flags().BoolVar(&ready, "ready", false, "ask whether the database can be used too")
	return command
}

// reachable is where who listens at an address can be reached from this machine: all addresses include the loopback one.
func reachable(address string) string {
	host, port, err := net.SplitHostPort(address)
	if ip := net.ParseIP(host); err == nil && (host == "" || ip != nil && ip.IsUnspecified()) {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return address
}
