package ondisk

import (
	"strings"

	"github.com/beckmq/beck/internal/streamid"
)

// idTexts makes the texts of many ids as parts of one string, which is faster
// than a piece of memory for each.
type idTexts struct{ b strings.Builder }

// usualIDSize is how long the texts of almost all ids are.
const usualIDSize = len("1732176000000-0042")

// grow makes room for so many texts.
func (t *idTexts) grow(count int) { t.b.Grow(count * usualIDSize) }

func (t *idTexts) add(id streamid.ID) string {
	var scratch [48]byte
	start := t.b.Len()
	t.b.Write(id.AppendTo(scratch[:0]))
	return t.b.String()[start:]
}
