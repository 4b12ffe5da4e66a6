package operator

import "time"

// The paths of the API. Lists take the parameters vhost, match and, for retained
// messages, filter; each answers one JSON object on a line. The rest takes a JSON
// object by POST.
const (
	pathStatus  = "/v1/status"
	pathPlugins = "/v1/plugins"
	pathLists   = "/v1/list/" // and what is listed
	pathPurge   = "/v1/purge"
	pathDelete  = "/v1/delete/" // and what is deleted
	pathKick    = "/v1/kick"
	pathBackup  = "/v1/backup"
)

// Status is how a node is.
type Status struct {
	Version  string    `json:"version"`
	PID      int       `json:"pid"`
	Started  time.Time `json:"started"`
	Data     string    `json:"data"`     // where it is
	Promises string    `json:"promises"` // what an acknowledgement means
	Alarms   []string  `json:"alarms"`   // that are raised: publishers wait

	Connections    int64 `json:"connections"`
	Sessions       int64 `json:"sessions"`
	Queues         int64 `json:"queues"`
	Shared         int64 `json:"shared_subscriptions"`
	Bindings       int64 `json:"bindings"` // subscriptions and bindings of queues
	Retained       int64 `json:"retained"` // those of $SYS too
	Stored         int64 `json:"stored_messages"`
	StoredBytes    int64 `json:"stored_bytes"`
	QueueMemory    int64 `json:"queue_memory"`
	StoreBytes     int64 `json:"store_bytes"`       // on disk
	ReceivedTotal  int64 `json:"received_messages"` // from clients
	SentTotal      int64 `json:"sent_messages"`
	DroppedTotal   int64 `json:"dropped_messages"`
	ProcessMemory  int64 `json:"process_memory"` // held from the system by Go
	GoroutineCount int   `json:"goroutines"`
}

// A Plugin is a part of the node that runs.
type Plugin struct {
	Name    string   `json:"name"`
	Listens []string `json:"listens"` // addresses
}

// A Target names what is to be changed.
type Target struct {
	VHost string `json:"vhost"`
	Name  string `json:"name"`
	// Session says that the queue to be purged is that of the client id Name.
	Session bool `json:"session,omitempty"`
}

// A Changed is the answer to a change.
type Changed struct {
	Count int64 `json:"count"`
	err   error
}

// A BackupRequest asks for a backup to a directory of the node's machine, an
// absolute path that does not exist or is an empty directory.
type BackupRequest struct {
	Dir string `json:"dir"`
}

// A Progress is told, one on a line, while a backup is made. The last one has
// Manifest or Error.
type Progress struct {
	Done     int64     `json:"done"`
	Total    int64     `json:"total"`
	Manifest *Manifest `json:"manifest,omitempty"`
	Error    string    `json:"error,omitempty"`
}

// A failure is the body of an answer that is not 200.
type failure struct {
	Error string `json:"error"`
}
