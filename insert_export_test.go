package pawl

// LimitStatements lowers the size of the jobs in one statement of this client's inserts, in bytes, and the number of
// jobs with constraints in one.
func (c *Client) LimitStatements(bytes, rows int) {
	c.limits = insertLimits{batch: bytes, statement: bytes, rows: rows}
}

// WaitingInserts returns how many single inserts wait for the next statement.
func (c *Client) WaitingInserts() int {
	c.insertBatcher.mu.Lock()
	defer c.insertBatcher.mu.Unlock()
	return len(c.insertBatcher.waiting)
}

// RefuseJSON returns why PostgreSQL's jsonb refuses valid JSON, and its size with numbers written out.
func RefuseJSON(b []byte) (size int, reason string) { return scanJSON(b) }

// JSONBSize returns about how many bytes valid JSON takes as jsonb.
func JSONBSize(b []byte) int {
	m := jsonbMeter{b: b}
	m.value()
	return m.size
}

// RefuseStorable returns why jsonb with these limits cannot hold valid JSON.
func RefuseStorable(b []byte, size, elements, pairs int) (reason string) {
	m := jsonbMeter{b: b}
	m.value()
	return m.refuse(size, elements, pairs)
}

// ValidJSON reports whether b is valid JSON.
func ValidJSON(b []byte) bool { return validJSON(b) }
