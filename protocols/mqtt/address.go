package mqtt

import (
	"bytes"
	"fmt"

	"github.com/narumq/naru/core"
)

// tooDeep says whether a topic or filter has more levels than allowed. Most
// have too few bytes for that, and are not looked at.
func (c *Config) tooDeep(address []byte) bool {
	most := c.MaxTopicLevels
	return most > 0 && len(address) >= most && bytes.Count(address, []byte{'/'}) >= most
}

// errLevels says so without repeating an address that may have 64 KiB.
func (c *Config) errLevels(address []byte) error {
	return fmt.Errorf("%w: %d levels, limit %d", core.ErrBadAddress, bytes.Count(address, []byte{'/'})+1, c.MaxTopicLevels)
}
