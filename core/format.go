package core

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// CheckFormat says whether this program can go on from what is in a shard that a
// bus has used before.
func CheckFormat(s Shard) error {
	format, err := formatOf(s)
	if err == nil && format == 0 {
		err = errors.New("the store has no format number: no broker has used it")
	}
	return err
}

// formatOf returns the format number of a shard, 0 for a fresh one. A newer one
// than is known is an error.
func formatOf(s Shard) (format uint64, err error) {
	if _, err := s.Get([]byte{keyFormat}, func(v []byte) { format, _ = binary.Uvarint(v) }); err != nil {
		return 0, err
	}
	if format > formatNumber {
		return 0, fmt.Errorf("the store has format %d and this program knows %d: use a newer naru", format, formatNumber)
	}
	return format, nil
}
