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
	"syscall"
	_ "time/tzdata" // Crons have time zones, and a container made from scratch has no time zone database.

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/cmd/pawl/internal/exit"
	"github.com/pawlhq/pawl/cmd/pawl/internal/program"
	"github.com/pawlhq/pawl/cmd/pawl/internal/settings"
)

func main() {
	ctx, stop := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		stop()
		// A second signal ends the process at once, even if a script started it in the background with SIGINT ignored.
		<-signals
		os.Exit(exit.CodeInterrupted)
	}()
	err := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "pawl:", exit.Message(err))
	}
	os.Exit(exit.Code(err))
}

// run is the whole program. exit.Code returns the exit code for its error.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) (err error) {
	p := &program.Program{Stdin: stdin, Stdout: stdout, Stderr: stderr}
	defer func() { err = p.Close(err) }()
	root := rootCommand(p)
	root.SetArgs(args)
	command, err := root.ExecuteContextC(ctx)
	if err != nil && !p.Started() {
		err = exit.Usage(err) // Cobra checks the command line before the command starts.
	}
	if schemaError, ok := errors.AsType[*pawl.SchemaError](err); ok {
		err = p.ExplainSchema(schemaError)
	}
	if wrong, ok := errors.AsType[exit.UsageError](err); ok {
		err = exit.Usagef("%w\nSee: %s --help", wrong.Unwrap(), command.CommandPath())
	}
	return err
}

const (
	groupSetup = "setup"
	groupJobs  = "jobs"
	groupRun   = "run"
)

func rootCommand(p *program.Program) *cobra.Command {
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
	root.SetIn(p.Stdin)
	root.SetOut(p.Stdout)
	root.SetErr(p.Stderr)
	root.SetHelpFunc(func(command *cobra.Command, _ []string) { printHelp(p, command) })
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return explainFlag(err) })
	flags := root.PersistentFlags()
	flags.SortFlags = false
	settings.AddFlags(root, flags, "dsn", "schema", "log_dest", "log_level", "format")
	flags.StringVarP(&p.ConfigFile, "config", "c", "",
		"file of settings; if empty, $"+settings.FileVariable+", else "+settings.DefaultFile+" if it exists")
	flags.StringVar(&p.OutFile, "out", "stdout", "where the output goes: stdout or a file")
	flags.BoolVar(&p.Yes, "yes", false, "do not ask for confirmation before a change that cannot be undone")
	root.AddGroup(
		&cobra.Group{ID: groupSetup, Title: "Set up and check:"},
		&cobra.Group{ID: groupJobs, Title: "Jobs and queues:"},
		&cobra.Group{ID: groupRun, Title: "Run and watch:"},
	)
	root.AddCommand(
		installCommand(p), migrateCommand(p), uninstallCommand(p), verifyCommand(p), doctorCommand(p), configCommand(p),
		importCommand(p), jobCommand(p), queueCommand(p), messageCommand(p), workerCommand(p), archiveCommand(p),
		deadCommand(p), cronCommand(p), consumeCommand(p), serveCommand(p), healthCommand(p), statsCommand(p),
		topCommand(p), adminCommand(p), demoCommand(p), benchCommand(p), versionCommand(p), manCommand(p),
		exitCodesTopic(), configurationTopic(), outputTopic(),
	)
	root.InitDefaultCompletionCmd()
	p.Adopt(root)
	addHelpCommand(root)
	return root
}

// explainFlag says what a flag expects. It leaves out the value, which may be a dsn with a password.
func explainFlag(err error) error {
	invalid, ok := errors.AsType[*pflag.InvalidValueError](err)
	if !ok {
		return err
	}
	flag := invalid.GetFlag()
	err = invalid.Unwrap()
	if number, ok := errors.AsType[*strconv.NumError](err); ok {
		want := map[string]string{"bool": "true or false", "float64": "a number"}[flag.Value.Type()]
		err = fmt.Errorf("%q: want %s", number.Num, cmp.Or(want, "a whole number"))
	}
	return fmt.Errorf("--%s: %w", flag.Name, err)
}
