// Package console holds what people see of a beck server in a browser: for now,
// one page that says what it is and where to go on.
package console
