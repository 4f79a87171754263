package onredis

import "strings"

// slotCount is how many slots a Redis Cluster has.
const slotCount = 16384

// slotOf is the slot of a key, or of a channel: the CRC16 (XMODEM) of what stands
// between its first { and the next }, or of all of it if that is nothing.
func slotOf(key string) uint16 {
	if open := strings.IndexByte(key, '{'); open >= 0 {
		if n := strings.IndexByte(key[open+1:], '}'); n > 0 {
			key = key[open+1 : open+1+n]
		}
	}
	var sum uint16
	for i := range len(key) {
		sum = sum<<8 ^ crcTable[byte(sum>>8)^key[i]]
	}
	return sum % slotCount
}

var crcTable = func() (table [256]uint16) {
	const polynomial = 0x1021
	for i := range table {
		sum := uint16(i) << 8
		for range 8 {
			if sum&0x8000 != 0 {
				sum = sum<<1 ^ polynomial
			} else {
				sum <<= 1
			}
		}
		table[i] = sum
	}
	return table
}()
