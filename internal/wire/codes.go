package wire

import (
	"context"
	"errors"
	"net/http"

	"github.com/beckmq/beck"
)

// Code names a kind of error for programs. Codes are stable.
type Code string

// The codes of errors that a bus returns.
const (
	CodeUncertain            Code = "uncertain"
	CodeInvalidName          Code = "invalid_name"
	CodeInvalidMessage       Code = "invalid_message"
	CodeInvalidOption        Code = "invalid_option"
	CodeInvalidPosition      Code = "invalid_position"
	CodeTopicNotFound        Code = "topic_not_found"
	CodeSubscriptionNotFound Code = "subscription_not_found"
	CodeNotHeld              Code = "not_held"
	CodeTooLarge             Code = "too_large"
	CodeUnavailable          Code = "unavailable"
	CodeFull                 Code = "full"
	CodeDenied               Code = "denied"
	CodeWrongType            Code = "wrong_type"
	CodeVersion              Code = "unsupported_version"
	CodeInUse                Code = "in_use"
	CodeCorrupt              Code = "corrupt"
	CodeClosed               Code = "closed"
	CodeMessageNotFound      Code = "message_not_found"
	CodeScheduleNotFound     Code = "schedule_not_found"
	CodeNoReplier            Code = "no_replier"
	CodeTopicFull            Code = "topic_full"
	CodeAnswerError          Code = "answer_error"
	CodeUnconfirmed          Code = "unconfirmed"
	CodeDurability           Code = "durability"
)

// The codes of errors that only the HTTP API has.
const (
	CodeTimeout          Code = "timeout"
	CodeRequestNotFound  Code = "request_not_found"
	CodeMalformed        Code = "malformed"
	CodeUnsupported      Code = "unsupported"
	CodeNotFound         Code = "not_found"
	CodeMethodNotAllowed Code = "method_not_allowed"
	CodeRequestTimeout   Code = "request_timeout"
	CodeCrossOrigin      Code = "cross_origin"
	CodeHostNotAllowed   Code = "host_not_allowed"
	CodeInternal         Code = "internal"
)

// Kind is a row of the table of errors.
type Kind struct {
	Code   Code
	Status int   // of an HTTP answer
	Exit   int   // of the command line
	Err    error // what errors.Is finds in such an error; nil if nothing
}

// ExitOther is the exit code of an error without a row of its own.
const ExitOther = 1

// kinds is the table. An error belongs to the first row whose Err it is, so "it is
// done, but" and "it may have been done" win over whatever else was the cause, and the
// rows of the HTTP API, at the end, are chosen by code only.
var kinds = []Kind{
	// Not of 500 and above, which many clients and proxies answer by sending the same
	// again: all of it is stored. 424 is for what was asked for and depended on
	// others, here on replicas or a disk, that didn't do their part.
	{CodeDurability, http.StatusFailedDependency, 21, beck.ErrDurability},
	{CodeUncertain, http.StatusBadGateway, 5, beck.ErrUncertain},
	{CodeInvalidName, http.StatusBadRequest, 2, beck.ErrName},
	{CodeInvalidMessage, http.StatusBadRequest, 2, beck.ErrMessage},
	{CodeInvalidOption, http.StatusBadRequest, 2, beck.ErrOption},
	{CodeTopicNotFound, http.StatusNotFound, 3, beck.ErrTopicNotFound},
	{CodeSubscriptionNotFound, http.StatusNotFound, 3, beck.ErrSubscriptionNotFound},
	{CodeUnavailable, http.StatusServiceUnavailable, 4, beck.ErrUnavailable},
	{CodeFull, http.StatusInsufficientStorage, 6, beck.ErrFull},
	{CodeDenied, http.StatusForbidden, 7, beck.ErrDenied},
	{CodeNotHeld, http.StatusConflict, 8, beck.ErrNotHeld},
	{CodeTooLarge, http.StatusRequestEntityTooLarge, 9, beck.ErrTooLarge},
	{CodeInvalidPosition, http.StatusBadRequest, 10, beck.ErrPosition},
	{CodeWrongType, http.StatusConflict, 11, beck.ErrWrongType},
	{CodeVersion, http.StatusInternalServerError, 12, beck.ErrVersion},
	{CodeInUse, http.StatusLocked, 13, beck.ErrInUse},
	{CodeCorrupt, http.StatusInternalServerError, 14, beck.ErrCorrupt},
	{CodeClosed, http.StatusServiceUnavailable, 15, beck.ErrClosed},
	{CodeMessageNotFound, http.StatusNotFound, 3, beck.ErrMessageNotFound},
	{CodeScheduleNotFound, http.StatusNotFound, 3, beck.ErrScheduleNotFound},
	{CodeNoReplier, http.StatusServiceUnavailable, 16, beck.ErrNoReplier},
	// Not 429, which many clients answer by sending the same again: a part of
	// what was sent may be stored.
	{CodeTopicFull, http.StatusInsufficientStorage, 17, beck.ErrTopicFull},
	// The next two are types of errors, see KindOf.
	{CodeAnswerError, http.StatusBadGateway, 18, nil},
	{CodeUnconfirmed, http.StatusConflict, 19, nil},

	{CodeTimeout, http.StatusGatewayTimeout, 20, context.DeadlineExceeded},
	{CodeRequestNotFound, http.StatusNotFound, 3, beck.ErrMessageNotFound},
	{CodeMalformed, http.StatusBadRequest, 2, beck.ErrOption},
	{CodeUnsupported, http.StatusBadRequest, 2, beck.ErrOption},
	{CodeNotFound, http.StatusNotFound, 2, beck.ErrOption},
	{CodeMethodNotAllowed, http.StatusMethodNotAllowed, 2, beck.ErrOption},
	{CodeRequestTimeout, http.StatusRequestTimeout, 4, beck.ErrUnavailable},
	{CodeCrossOrigin, http.StatusForbidden, 7, beck.ErrDenied},
	{CodeHostNotAllowed, http.StatusMisdirectedRequest, 7, beck.ErrDenied},
	{CodeInternal, http.StatusInternalServerError, ExitOther, nil},
}

// Kinds returns the whole table.
func Kinds() []Kind { return append([]Kind(nil), kinds...) }

// KindOf returns the row an error belongs to: the row of the Problem in it, or of
// its type, or that of the sentinel it wraps, or the one of CodeInternal.
func KindOf(err error) Kind {
	if p, ok := errors.AsType[*Problem](err); ok {
		return kindOf(p.Code)
	}
	if _, ok := errors.AsType[*beck.UnconfirmedError](err); ok {
		return kindOf(CodeUnconfirmed)
	}
	if _, ok := errors.AsType[*beck.AnswerError](err); ok {
		return kindOf(CodeAnswerError)
	}
	for _, k := range kinds {
		if k.Err != nil && errors.Is(err, k.Err) {
			return k
		}
	}
	return kinds[len(kinds)-1]
}

// kindOf returns the row of a code; one that is not known, from a server newer
// than this program, belongs to CodeInternal.
func kindOf(code Code) Kind {
	for _, k := range kinds {
		if k.Code == code {
			return k
		}
	}
	return kinds[len(kinds)-1]
}

// ExitCode returns the exit code for what a command ended with: 0 for nil.
func ExitCode(err error) int {
	if err == nil {
		return 0
	}
	return KindOf(err).Exit
}
