package main

import (
	"encoding/json"
	"testing"
)

func TestArgsSize(t *testing.T) {
	seen := map[string]bool{}
	for _, size := range []int{minArgsBytes, 90, 1000} {
		for _, id := range []int64{0, 9, 10, 123_456, 99_999_999} {
			text, err := json.Marshal(newArgs(id, size))
			if err != nil {
				t.Fatal(err)
			}
			if len(text) != size {
				t.Errorf("args of job %d are %d bytes, want %d", id, len(text), size)
			}
			if seen[string(text)] {
				t.Errorf("args of job %d are not distinct", id)
			}
			seen[string(text)] = true
		}
	}
}
