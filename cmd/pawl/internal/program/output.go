package program

import (
	"fmt"
	"io"
	"iter"
	"os"

	"github.com/pawlhq/pawl/cmd/pawl/internal/output"
)

// Print writes the rows of a command: a slice of structs, or a single struct. See output.Printer.
func (p *Program) Print(rows any) error {
	printer, err := p.rowPrinter()
	if err != nil {
		return err
	}
	return printer.Print(rows)
}

// PrintPages writes a list that arrives in slices.
func (p *Program) PrintPages(pages iter.Seq2[any, error]) error {
	printer, err := p.rowPrinter()
	if err != nil {
		return err
	}
	return printer.PrintPages(pages)
}

// PrintNext writes one more row of an endless list.
func (p *Program) PrintNext(row any) error {
	printer, err := p.rowPrinter()
	if err != nil {
		return err
	}
	return printer.PrintNext(row)
}

// PrintCount writes how many jobs a command changed. If the command failed after it changed some, it writes the count
// and returns the error.
func (p *Program) PrintCount(n int64, row any, err error) error {
	if err != nil && n == 0 {
		return err
	}
	if failed := p.Print(row); err == nil {
		err = failed
	}
	return err
}

func (p *Program) rowPrinter() (*output.Printer, error) {
	if _, err := p.Output(); err != nil {
		return nil, err
	}
	return p.printer, nil
}

// Output returns the writer that --out names. It creates the file the first time it is called.
func (p *Program) Output() (io.Writer, error) {
	if p.printer != nil {
		return p.printer.Out, nil
	}
	s, err := p.LoadSettings()
	if err != nil {
		return nil, err
	}
	out := p.Stdout
	if !p.WritesToStdout() {
		file, err := os.Create(p.OutFile)
		if err != nil {
			return nil, fmt.Errorf("--out: %w", err)
		}
		p.OnEnd(file.Close)
		out = file
	}
	p.printer = &output.Printer{Out: out, Format: s.Format}
	return out, nil
}

// WritesToStdout reports whether --out names standard output.
func (p *Program) WritesToStdout() bool {
	return p.OutFile == "stdout" || p.OutFile == "-" || p.OutFile == ""
}
