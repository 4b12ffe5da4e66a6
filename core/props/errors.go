package props

import "errors"

// The ways in which tables and properties can be malformed.
var (
	ErrTable      = errors.New("malformed field table")
	ErrFieldType  = errors.New("unknown field type")
	ErrDepth      = errors.New("field table is nested too deep")
	ErrElements   = errors.New("field table has too many elements")
	ErrProperties = errors.New("malformed content properties")
)
