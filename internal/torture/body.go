package torture

import (
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
)

// Body is the content of a message: who published it, the number he gave it, and a
// checksum over these, the key, and some ballast.
func Body(stream string, n int64, key string) []byte {
	text := fmt.Sprintf("%s %d %s", stream, n, strings.Repeat("x", 20+int(n*37%200)))
	return fmt.Appendf(nil, "%08x %s", sum(text, key), text)
}

// parseBody takes a body apart; bad says what is wrong with it.
func parseBody(body []byte, key string) (stream string, n int64, bad string) {
	first, text, _ := strings.Cut(string(body), " ")
	stream, rest, _ := strings.Cut(text, " ")
	number, _, _ := strings.Cut(rest, " ")
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || first != fmt.Sprintf("%08x", sum(text, key)) {
		return "", 0, fmt.Sprintf("the body %.80q with the key %.40q has another checksum", body, key)
	}
	return stream, n, ""
}

func sum(text, key string) uint32 {
	return crc32.ChecksumIEEE([]byte(key + "\x00" + text))
}
