package wire

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/beckmq/beck"
)

// ProblemType is the media type of a Problem.
const ProblemType = "application/problem+json"

// Problem is an error as the HTTP API writes it, after RFC 9457. It is an error
// itself, and errors.Is finds in it what its code stands for.
type Problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Code   Code   `json:"code"`

	// IDs are those of the messages of a publish that are stored although it
	// failed.
	IDs []string `json:"ids,omitempty"`
	// NotHeld are the ids of a settle that the consumer did not hold.
	NotHeld []string `json:"not_held,omitempty"`
	// Missing are the ids of a requeue, drop or cancel that were not there.
	Missing []string `json:"missing,omitempty"`
}

// NewProblem returns a problem with a code, and a detail for people.
func NewProblem(code Code, format string, args ...any) *Problem {
	status := kindOf(code).Status
	return &Problem{
		Type: "about:blank", Title: http.StatusText(status), Status: status,
		Code: code, Detail: fmt.Sprintf(format, args...),
	}
}

// ProblemOf returns the problem that tells of an error.
func ProblemOf(err error) *Problem {
	if held, ok := errors.AsType[*beck.NotHeldError](err); ok {
		return problemOfNotHeld(held, err)
	}
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	var missing interface{ Missing() []string }
	if errors.As(err, &missing) {
		p := NewProblem(CodeMessageNotFound, "%v; all others of the request are done", cause(err))
		p.Missing = missing.Missing()
		return p
	}
	if failed, ok := errors.AsType[*beck.AnswerError](err); ok {
		return NewProblem(CodeAnswerError, "%s", failed.Text) // as it is, for the one who asked
	}
	switch {
	case errors.Is(err, beck.ErrDurability): // stored, whatever else there is
		return NewProblem(CodeDurability, "%v", cause(err))
	case errors.Is(err, beck.ErrClosed) && !errors.Is(err, beck.ErrUncertain):
		// It is the server's bus that was closed, not the client's: for the
		// client it is a server that is away for a while.
		return NewProblem(CodeUnavailable, "%v: the server is shutting down", beck.ErrUnavailable)
	case cutOff(err):
		return NewProblem(CodeUncertain, "%v", cause(err))
	}
	return NewProblem(KindOf(err).Code, "%v", cause(err))
}

// ProblemOfRead is ProblemOf for a call that changes nothing: where it was cut
// off, nothing is uncertain.
func ProblemOfRead(err error) *Problem {
	p := ProblemOf(err)
	if p.Code == CodeUncertain && cutOff(err) {
		p = NewProblem(CodeUnavailable, "%v: %v", beck.ErrUnavailable, cause(err))
	}
	return p
}

func cutOff(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// problemOfNotHeld tells apart whether all other deliveries are settled, or
// another part of the call has failed in another way.
func problemOfNotHeld(held *beck.NotHeldError, err error) *Problem {
	if !nothingBut(held, err) {
		return NewProblem(CodeUncertain, "%v: some are settled, others may be: %v; settling again does no harm", beck.ErrUncertain, cause(err))
	}
	p := NewProblem(CodeNotHeld, "%v; all others of the request are settled", held)
	p.NotHeld = held.IDs
	return p
}

// nothingBut reports whether an error has no cause but one.
func nothingBut(one *beck.NotHeldError, err error) bool {
	for err != error(one) {
		switch e := err.(type) {
		case interface{ Unwrap() error }:
			err = e.Unwrap()
		case interface{ Unwrap() []error }:
			causes := e.Unwrap()
			if len(causes) != 1 {
				return false
			}
			err = causes[0]
		default:
			return false
		}
	}
	return true
}

// cause leaves away the operation and topic of an error: the client knows what
// it asked for, and the HTTP engine's own bus says it again.
func cause(err error) error {
	if e, ok := errors.AsType[*beck.Error](err); ok {
		return e.Err
	}
	return err
}

// Error returns the detail.
func (p *Problem) Error() string { return p.Detail }

// Unwrap returns what the code stands for, or nil.
func (p *Problem) Unwrap() error { return kindOf(p.Code).Err }

// Append adds the problem's JSON to b.
func (p *Problem) Append(b []byte) []byte {
	text, err := json.Marshal(p)
	if err != nil {
		// Strings and numbers always marshal.
		return append(b, `{"code":"internal"}`...)
	}
	return append(b, text...)
}

// DecodeProblem reads a problem's JSON. It reports whether there was one with a
// code.
func DecodeProblem(b []byte) (*Problem, bool) {
	var p Problem
	if err := json.Unmarshal(b, &p); err != nil || p.Code == "" {
		return nil, false
	}
	if p.Detail == "" {
		p.Detail = string(p.Code)
	}
	return &p, true
}
