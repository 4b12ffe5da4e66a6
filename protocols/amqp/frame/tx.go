package frame

// The methods of the classes confirm and tx have no arguments, but for
// confirm.select; DecodeEmpty checks that of tx.

// ConfirmSelect is a decoded confirm.select.
type ConfirmSelect struct {
	NoWait bool
}

// Decode decodes the arguments.
func (m *ConfirmSelect) Decode(b []byte) error {
	a := args{b: b}
	m.NoWait = a.uint8()&1 != 0
	return a.end()
}

// AppendConfirmSelectOK appends a confirm.select-ok.
func AppendConfirmSelectOK(b []byte, channel uint16) []byte {
	return appendEmpty(b, channel, MethodConfirmSelectOK)
}

// AppendTxSelectOK appends a tx.select-ok.
func AppendTxSelectOK(b []byte, channel uint16) []byte {
	return appendEmpty(b, channel, MethodTxSelectOK)
}

// AppendTxCommitOK appends a tx.commit-ok.
func AppendTxCommitOK(b []byte, channel uint16) []byte {
	return appendEmpty(b, channel, MethodTxCommitOK)
}

// AppendTxRollbackOK appends a tx.rollback-ok.
func AppendTxRollbackOK(b []byte, channel uint16) []byte {
	return appendEmpty(b, channel, MethodTxRollbackOK)
}
