package console

import _ "embed"

//go:embed index.html
var index []byte

// Policy is the Content-Security-Policy of the page: it loads nothing, runs
// nothing, and can't be framed.
const Policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// Page returns the page, as HTML. It must not be changed.
func Page() []byte { return index }
