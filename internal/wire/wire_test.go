package wire

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/beckmq/beck"
)

func TestTheTableIsWhole(t *testing.T) {
	codes := map[Code]bool{}
	exits := map[int]error{}
	for i, k := range Kinds() {
		if codes[k.Code] {
			t.Errorf("code %s stands twice", k.Code)
		}
		codes[k.Code] = true
		if http.StatusText(k.Status) == "" || k.Status < 400 {
			t.Errorf("code %s has status %d", k.Code, k.Status)
		}
		if k.Exit < 1 || k.Exit > 63 {
			t.Errorf("code %s has exit code %d", k.Code, k.Exit)
		}
		engine := i < slices.IndexFunc(Kinds(), func(k Kind) bool { return k.Code == CodeMalformed })
		if other, taken := exits[k.Exit]; taken && engine && k.Exit != 2 && k.Exit != 3 {
			t.Errorf("code %s shares exit code %d with %v", k.Code, k.Exit, other)
		}
		exits[k.Exit] = k.Err
	}
	for _, err := range []error{
		beck.ErrName, beck.ErrMessage, beck.ErrOption, beck.ErrNotHeld, beck.ErrPosition, beck.ErrTopicNotFound,
		beck.ErrSubscriptionNotFound, beck.ErrTooLarge, beck.ErrUnavailable, beck.ErrUncertain, beck.ErrFull,
		beck.ErrDenied, beck.ErrWrongType, beck.ErrVersion, beck.ErrInUse, beck.ErrCorrupt, beck.ErrClosed,
		beck.ErrMessageNotFound, beck.ErrScheduleNotFound, beck.ErrNoReplier, beck.ErrTopicFull, context.DeadlineExceeded,
	} {
		if k := KindOf(fmt.Errorf("so: %w", err)); k.Err != err {
			t.Errorf("%v belongs to %s", err, k.Code)
		}
	}
	for err, code := range map[error]Code{
		&beck.AnswerError{Text: "x"}:                          CodeAnswerError,
		&beck.UnconfirmedError{Err: context.DeadlineExceeded}: CodeUnconfirmed,
		&beck.UnconfirmedError{}:                              CodeUnconfirmed,
		NewProblem(CodeRequestNotFound, "x"):                  CodeRequestNotFound,
	} {
		if k := KindOf(&beck.Error{Op: "x", Err: err}); k.Code != code {
			t.Errorf("%T belongs to %s", err, k.Code)
		}
	}
}

func TestAnErrorCrossesTheWire(t *testing.T) {
	for _, k := range Kinds() {
		if k.Err == nil || k.Code == CodeClosed {
			continue
		}
		sent := NewProblem(k.Code, "%v: so it is", k.Err)
		got, ok := DecodeProblem(sent.Append(nil))
		if !ok {
			t.Fatalf("%s is not read back", k.Code)
		}
		var err error = &beck.Error{Op: "publish", Topic: "t", Err: got}
		if !errors.Is(err, k.Err) || ExitCode(err) != k.Exit || got.Status != k.Status {
			t.Errorf("%s comes back as %v, %d, %d", k.Code, err, ExitCode(err), got.Status)
		}
		if want := "beck: publish t: " + k.Err.Error() + ": so it is"; err.Error() != want {
			t.Errorf("%s reads %q, want %q", k.Code, err, want)
		}
	}
}

func TestProblemOf(t *testing.T) {
	for _, c := range []struct {
		err    error
		code   Code
		detail string
	}{
		{&beck.Error{Op: "publish", Topic: "t", Err: fmt.Errorf("%w: a body of 9", beck.ErrTooLarge)}, CodeTooLarge, "too large: a body of 9"},
		{&beck.Error{Op: "publish", Err: beck.ErrClosed}, CodeUnavailable, "engine unavailable: the server is shutting down"},
		{fmt.Errorf("x: %w", context.Canceled), CodeUncertain, "x: context canceled"},
		{errors.Join(beck.ErrUncertain, beck.ErrUnavailable), CodeUncertain, ""},
		{errors.Join(beck.ErrClosed, beck.ErrUncertain), CodeUncertain, ""},
		{fmt.Errorf("%w: %w", beck.ErrDurability, context.DeadlineExceeded), CodeDurability, ""},
		{fmt.Errorf("%w: %w", beck.ErrDurability, beck.ErrUnavailable), CodeDurability, ""},
		{errors.New("odd"), CodeInternal, "odd"},
		{&beck.Error{Op: "request", Err: &beck.AnswerError{Service: "s", Text: "no\nway"}}, CodeAnswerError, "no\nway"},
		{&beck.NotHeldError{Consumer: "c", IDs: []string{"1", "2"}}, CodeNotHeld, "delivery not held by consumer c: 1, 2; all others of the request are settled"},
	} {
		p := ProblemOf(c.err)
		if p.Code != c.code || c.detail != "" && p.Detail != c.detail {
			t.Errorf("%v gives %+v", c.err, p)
		}
	}
	held := &beck.NotHeldError{Consumer: "c", IDs: []string{"1"}}
	for _, c := range []struct {
		err  error
		code Code
	}{
		{&beck.Error{Op: "settle", Err: errors.Join(held, nil)}, CodeNotHeld},
		{&beck.Error{Op: "settle", Err: errors.Join(held, errors.Join(beck.ErrUnavailable))}, CodeUncertain},
		{errors.Join(held, errors.New("odd")), CodeUncertain},
		{errors.Join(held, NewProblem(CodeFull, "full")), CodeUncertain},
	} {
		p := ProblemOf(c.err)
		if p.Code != c.code || (len(p.NotHeld) == 1) != (c.code == CodeNotHeld) || strings.Contains(p.Detail, "all others") != (c.code == CodeNotHeld) {
			t.Errorf("%v gives %+v", c.err, p)
		}
	}
	for err, want := range map[error]Code{
		context.Canceled: CodeUnavailable, context.DeadlineExceeded: CodeUnavailable,
		beck.ErrUncertain: CodeUncertain, beck.ErrTopicNotFound: CodeTopicNotFound,
	} {
		if p := ProblemOfRead(fmt.Errorf("x: %w", err)); p.Code != want {
			t.Errorf("%v of a read gives %+v", err, p)
		}
	}
	if p := ProblemOf(&beck.NotHeldError{IDs: []string{"1", "2"}}); !slices.Equal(p.NotHeld, []string{"1", "2"}) {
		t.Errorf("ids not held are %q", p.NotHeld)
	}
	if _, ok := DecodeProblem([]byte("<html>")); ok {
		t.Error("HTML is a problem")
	}
	if p, ok := DecodeProblem([]byte(`{"code":"of_the_future"}`)); !ok || p.Error() == "" || p.Unwrap() != nil {
		t.Errorf("an unknown code gives %v", p)
	}
}

func TestAnswers(t *testing.T) {
	at := time.UnixMilli(1732176000123).UTC()
	m := &beck.Message{ID: "1-0001", Topic: "t", Body: []byte("x"), Time: at, Attempt: 2}

	page, err := DecodePage(AppendPage(nil, &beck.Page{
		Messages: []*beck.Message{m, m}, Next: "1-0001", More: true, Gap: &beck.Gap{Topic: "t", After: "0-1", Resume: "start"}, Era: "e\"1",
	}))
	if err != nil || page.Era != "e\"1" || len(page.Messages) != 2 || !same(page.Messages[1], *m) || page.Next != "1-0001" || !page.More || *page.Gap != (Gap{"0-1", "start"}) {
		t.Errorf("page is %+v, %v", page, err)
	}
	if page, err = DecodePage([]byte(`{"messages":[],"next":"start","more":false,"gap":null,"of_the_future":{"a":[1,true]}}`)); err != nil || page.Gap != nil {
		t.Errorf("page is %+v, %v", page, err)
	}
	fetched, err := DecodeFetched(AppendFetched(nil, &beck.Fetched{Messages: []*beck.Message{m}, Lease: 30 * time.Second, Next: 1500 * time.Millisecond, More: true, Lost: 7, Gap: true, Era: "e2"}))
	if err != nil || fetched.Era != "e2" || len(fetched.Messages) != 1 || !same(fetched.Messages[0], *m) || fetched.Lease != 30*time.Second || fetched.Next != 1500*time.Millisecond || !fetched.More || fetched.Lost != 7 {
		t.Errorf("fetched is %+v, %v", fetched, err)
	}
	ids, err := DecodeIDs(AppendIDs(nil, []string{"1-0001", "1-0002"}))
	if err != nil || !slices.Equal(ids, []string{"1-0001", "1-0002"}) {
		t.Errorf("ids are %q, %v", ids, err)
	}
	for _, bad := range []string{"", "<html>", `{"messages":5,"ids":5}`, `{"ids":5,"next":5}`, `{} {}`} {
		_, err1 := DecodePage([]byte(bad))
		_, err2 := DecodeFetched([]byte(bad))
		_, err3 := DecodeIDs([]byte(bad))
		if err1 == nil || err2 == nil || err3 == nil {
			t.Errorf("%q is read: %v, %v, %v", bad, err1, err2, err3)
		}
	}
}

func TestEvents(t *testing.T) {
	m := &beck.Message{ID: "1-0001", Body: []byte("a\nb")}
	got := string(AppendEvents(AppendStart(nil, "start"), &beck.Page{
		Messages: []*beck.Message{m}, Gap: &beck.Gap{After: "0-1", Resume: "1-0000"},
	}))
	want := "id: start\n\nevent: gap\nid: 1-0000\ndata: {\"after\":\"0-1\",\"resume\":\"1-0000\"}\n\n" +
		"id: 1-0001\ndata: {\"id\":\"1-0001\",\"body\":\"a\\nb\"}\n\n"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestDecode(t *testing.T) {
	var f FetchRequest
	if err := Decode([]byte(`{"consumer":"c1","max":5,"wait":"20s","recover":true,"era":"e1"}`), &f); err != nil || f != (FetchRequest{"c1", 5, Duration(20 * time.Second), true, "e1"}) {
		t.Errorf("got %+v, %v", f, err)
	}
	for _, c := range []struct{ text, says string }{
		{`{"consumer":"c1","mx":5}`, `unknown field "mx"`},
		{"{\n  \"max\": \"5\"}", `line 2, column 13: "max" must be a whole number, not a string`},
		{`{"wait":"20"}`, `"20" is not a duration`},
		{`{"max":5`, "the JSON ends too early"},
		{``, "the JSON ends too early"},
		{"{\n\"max\":5,\n}", "line 3"},
		{`{} {}`, "unexpected text behind"},
		{`[]`, "the value must be an object, not an array"},
	} {
		err := Decode([]byte(c.text), &f)
		if p, ok := errors.AsType[*Problem](err); !ok || p.Code != CodeMalformed || !strings.Contains(p.Detail, c.says) {
			t.Errorf("%s gives %v, want %s", c.text, err, c.says)
		}
	}
}

func TestSettlements(t *testing.T) {
	for _, do := range []string{DoAck, DoRetry, DoRelease, DoDead, DoRenew} {
		if _, err := (Settlement{ID: "1", Do: do}).Beck(); err != nil {
			t.Errorf("%s: %v", do, err)
		}
	}
	for _, s := range []Settlement{
		{Do: DoAck}, {ID: "1"}, {ID: "1", Do: "nack"}, {ID: "1", Do: DoAck, After: 5},
		{ID: "1", Do: DoRetry, After: -5}, {ID: "1", Do: DoAck, Reason: "x"},
	} {
		if _, err := s.Beck(); !errors.Is(err, beck.ErrOption) {
			t.Errorf("%+v gives %v", s, err)
		}
	}
}

// A duration that is a number is told what one is.
func TestDurationsAreTexts(t *testing.T) {
	for _, text := range []string{`{"wait":20}`, `{"wait":true}`} {
		err := Decode([]byte(text), new(FetchRequest))
		if err == nil || !strings.Contains(err.Error(), `"wait" must be a duration such as "20s", not`) {
			t.Errorf("%s gives %v", text, err)
		}
	}
}
