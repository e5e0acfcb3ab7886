package settings

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	// FileVariable is the variable that names the file of settings.
	FileVariable = "PAWL_CONFIG"
	// DefaultFile is the file of settings that is read if it exists and no other is named.
	DefaultFile = "pawl.yaml"
)

// entry is a setting in a file.
type entry struct {
	values []string
	place  string // file:line
}

// readFile reads the file of settings. A file that is named by the path or by FileVariable must exist.
func readFile(path string) (map[string]entry, error) {
	namedBy := "--config"
	if path == "" {
		path, namedBy = os.Getenv(FileVariable), FileVariable
	}
	if path == "" {
		path, namedBy = DefaultFile, ""
	}
	file, err := os.Open(path)
	if namedBy == "" && errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", namedBy, err)
	}
	defer file.Close()
	decoder := yaml.NewDecoder(file)
	var document, second yaml.Node
	if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := decoder.Decode(&second); err == nil {
		return nil, fmt.Errorf("%s:%d: a second document begins; want one", path, second.Line)
	} else if !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	all := map[string]entry{}
	return all, readMapping(all, path, "", document.Content[0])
}

func readMapping(all map[string]entry, path, prefix string, node *yaml.Node) error {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if node.Tag == "!!null" {
		return nil
	}
	if node.Kind != yaml.MappingNode {
		return fmt.Errorf("%s:%d: want settings, one per line: name: value", path, node.Line)
	}
	seen := map[string]int{}
	for i := 0; i < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		name, place := prefix+key.Value, fmt.Sprintf("%s:%d", path, key.Line)
		if line, twice := seen[name]; twice {
			return fmt.Errorf("%s: %s is set twice, first in line %d", place, name, line)
		}
		seen[name] = key.Line
		if slices.ContainsFunc(definitions, func(d *definition) bool { return strings.HasPrefix(d.name, name+".") }) {
			if err := readMapping(all, path, name+".", value); err != nil {
				return err
			}
			continue
		}
		d := find(name)
		if d == nil {
			return fmt.Errorf("%s: there is no setting %q; see: pawl config show", place, name)
		}
		values, err := readValues(value, d.list)
		if err != nil {
			return fmt.Errorf("%s: %s: %w", place, name, err)
		}
		if values != nil {
			all[name] = entry{values, place}
		}
	}
	return nil
}

// readValues returns nil for null, which leaves a setting unset.
func readValues(node *yaml.Node, list bool) ([]string, error) {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	switch {
	case node.Tag == "!!null":
		return nil, nil
	case node.Kind == yaml.ScalarNode:
		return []string{node.Value}, nil
	case node.Kind == yaml.SequenceNode && list:
		values := []string{}
		for _, item := range node.Content {
			one, err := readValues(item, false)
			if err != nil {
				return nil, err
			}
			values = append(values, one...)
		}
		return values, nil
	case list:
		return nil, errors.New("want a list")
	}
	return nil, errors.New("want a single value")
}
