// Package frame turns bytes into AMQP 0-9-1 frames, methods, content headers
// and field tables, and back. It is written from the side of the server:
// methods that a client sends are decoded, methods that a server sends are
// appended.
//
// It is pure: no state, no input or output, and no allocation but where a
// function says so. Decoded things point into the bytes they were decoded
// from, with their capacity cut, so that an append to one copies it.
//
// Reading goes like this:
//
//	ok, more := ReadProtocol(b)          // once, the first 8 bytes
//	h, more, err := ReadHeader(b)        // 7 bytes
//	err = h.Check(frameMax)              // before the payload is waited for
//	payload, err := h.Payload(b)         // h.Total() bytes are there; checks the end octet
//	m, args, err := ReadMethod(payload)  // FrameMethod
//	err = publish.Decode(args)           // one type for each method, named after it
//	err = content.Decode(payload)        // FrameHeader
//	s, err := Scan(content.Properties)   // before a message goes any further
//
// Every error is an *Error, whose Code is the reply code of the
// connection.close that answers it; Code 0 says that the socket is dropped
// without one. Methods are checked by form only: what depends on the state of a
// connection, on limits and on names is checked elsewhere.
//
// The properties of a message are forwarded as they came. Scan checks them
// whole, the headers table with them, so that what one client publishes cannot
// break the connection of another that receives it.
package frame
