package tracing

import (
	"errors"
	"fmt"
	"strings"

	"github.com/beckmq/beck"
)

// known are the errors whose text names their kind.
var known = []error{
	beck.ErrTopicFull, beck.ErrUnavailable, beck.ErrUncertain, beck.ErrFull, beck.ErrDenied, beck.ErrTooLarge,
	beck.ErrMessage, beck.ErrWrongType, beck.ErrNoReplier, beck.ErrNotHeld, beck.ErrClosed,
}

// kind is an error.type: one of few, whatever the error's text is.
func kind(err error) string {
	for _, k := range known {
		if errors.Is(err, k) {
			return strings.ReplaceAll(k.Error(), " ", "_")
		}
	}
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	switch t := fmt.Sprintf("%T", err); t {
	case "*errors.errorString", "*errors.joinError", "*fmt.wrapError", "*fmt.wrapErrors":
		return "_OTHER"
	default:
		return t
	}
}
