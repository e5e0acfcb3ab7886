package output

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// yaml11 matches strings that YAML 1.1 reads as booleans, base-60 numbers or merge keys.
var yaml11 = regexp.MustCompile(`^(?i:y|yes|n|no|on|off)$|^(?:<<|=)$|^[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?$`)

func encodeYAML(v any) *yaml.Node {
	scalar := func(tag, value string) *yaml.Node {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: value}
	}
	switch v := v.(type) {
	case object:
		node := &yaml.Node{Kind: yaml.MappingNode}
		for _, m := range v {
			node.Content = append(node.Content, encodeYAML(m.name), encodeYAML(m.value))
		}
		return node
	case map[string]any:
		node := &yaml.Node{Kind: yaml.MappingNode}
		for _, name := range slices.Sorted(maps.Keys(v)) {
			node.Content = append(node.Content, encodeYAML(name), encodeYAML(v[name]))
		}
		return node
	case []any:
		node := &yaml.Node{Kind: yaml.SequenceNode}
		if len(v) == 0 {
			node.Style = yaml.FlowStyle
		}
		for _, item := range v {
			node.Content = append(node.Content, encodeYAML(item))
		}
		return node
	case json.RawMessage:
		decoder := json.NewDecoder(bytes.NewReader(v))
		decoder.UseNumber()
		var value any
		if decoder.Decode(&value) != nil {
			return scalar("!!str", string(v))
		}
		return encodeYAML(value)
	case json.Number:
		if strings.ContainsAny(v.String(), ".eE") {
			return scalar("!!float", v.String())
		}
		return scalar("!!int", v.String())
	case float64:
		return encodeYAML(json.Number(strconv.FormatFloat(v, 'g', -1, 64)))
	case nil:
		return scalar("!!null", "null")
	case string:
		node := scalar("!!str", v) // The encoder quotes it where YAML 1.2 needs that.
		if yaml11.MatchString(v) {
			node.Style = yaml.DoubleQuotedStyle
		}
		return node
	case bool:
		return scalar("!!bool", strconv.FormatBool(v))
	}
	return encodeYAML(json.Number(fmt.Sprint(v)))
}
