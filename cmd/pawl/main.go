// Command pawl runs Pawl from a shell.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/pawlhq/pawl"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func main() {
	ctx, stop := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		stop()
		<-signals // A second ^C ends the process at once, also where a script began it in the background, with SIGINT ignored.
		os.Exit(exitInterrupted)
	}()
	err := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "pawl:", plain(err))
	}
	os.Exit(exitCode(err))
}

// run is the whole program; exitCode tells what its error means to a shell.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) (err error) {
	p := &program{stdin: stdin, stdout: stdout, stderr: stderr}
	defer func() { err = p.close(err) }()
	root := rootCommand(p)
	root.SetArgs(args)
	command, err := root.ExecuteContextC(ctx)
	if err != nil && !p.started {
		err = usageError{err} // What cobra finds wrong, it finds before anything has run.
	}
	if old, ok := errors.AsType[*pawl.SchemaError](err); ok {
		err = p.schemaError(old)
	}
	if wrong, ok := err.(usageError); ok {
		err = usageError{fmt.Errorf("%w\nSee: %s --help", wrong.error, command.CommandPath())}
	}
	return err
}

const (
	groupSetup = "setup"
	groupJobs  = "jobs"
	groupRun   = "run"
)

func rootCommand(p *program) *cobra.Command {
	root := &cobra.Command{
		Use:   "pawl",
		Short: "A job queue on PostgreSQL",
		Example: `  export DATABASE_URL=postgres://me@localhost/app
  pawl install
  pawl job insert hello '{"name": "Ann"}'
  pawl consume default --until-empty -- cat`,
		Version:       version().Version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetIn(p.stdin)
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	root.SetHelpFunc(p.help)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		if wrong, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
			err = wrong.Unwrap() // Without the value: a dsn has a password.
			if number, ok := errors.AsType[*strconv.NumError](err); ok {
				err = fmt.Errorf("%q: want %s", number.Num, cmp.Or(map[string]string{"bool": "true or false", "float64": "a number"}[wrong.GetFlag().Value.Type()], "a whole number"))
			}
			return fmt.Errorf("--%s: %w", wrong.GetFlag().Name, err)
		}
		return err
	})
	flags := root.PersistentFlags()
	flags.SortFlags = false
	p.settingFlags(root, flags, "dsn", "schema", "log_dest", "log_level", "format")
	flags.StringVarP(&p.configFile, "config", "c", "", "file of settings; if empty, $"+configEnv+", else "+defaultConfigFile+" where there is one")
	flags.StringVar(&p.out, "out", "stdout", "where the answer goes: stdout or a file")
	flags.BoolVar(&p.yes, "yes", false, "do not ask before what cannot be undone")
	root.AddGroup(
		&cobra.Group{ID: groupSetup, Title: "Set up and check:"},
		&cobra.Group{ID: groupJobs, Title: "Jobs and queues:"},
		&cobra.Group{ID: groupRun, Title: "Run and watch:"},
	)
	root.AddCommand(
		installCommand(p), migrateCommand(p), uninstallCommand(p), verifyCommand(p), doctorCommand(p), configCommand(p), importCommand(p),
		jobCommand(p), queueCommand(p), messageCommand(p), workerCommand(p), archiveCommand(p), deadCommand(p), cronCommand(p),
		consumeCommand(p), serveCommand(p), healthCommand(p), statsCommand(p), topCommand(p), adminCommand(p),
		demoCommand(p), benchCommand(p), versionCommand(p), manCommand(p),
		exitCodesTopic(), configurationTopic(), outputTopic(),
	)
	root.InitDefaultCompletionCmd()
	p.adopt(root)
	root.InitDefaultHelpCmd()
	for _, command := range root.Commands() {
		if command.Name() == "help" {
			command.Run, command.RunE = nil, func(_ *cobra.Command, args []string) error {
				about, rest, err := root.Find(args)
				if err != nil || len(rest) > 0 {
					return usageError{fmt.Errorf("there is no help on %q", strings.Join(args, " "))}
				}
				return about.Help()
			}
		}
	}
	return root
}
