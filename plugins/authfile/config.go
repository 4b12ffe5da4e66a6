package authfile

// Config is who may log in, and what they may do. Users and ACL can both be
// empty: then only anonymous clients are let in, if they are enabled.
type Config struct {
	Users     map[string]User `yaml:"users" reload:"true" doc:"Users by name. The default is the user guest with the password guest, who is let in from this machine only; a map given here replaces it."`
	Anonymous Anonymous       `yaml:"anonymous" reload:"true" doc:"Clients that give no user name."`
	ACL       []string        `yaml:"acl" reload:"true" doc:"Rules for everybody, on top of their own. They restrict a user without an acl only where they deny."`
}

// User is one entry of users. A nil list says that nothing was written: an
// empty one that somebody wanted it empty.
type User struct {
	Password    string    `yaml:"password" secret:"true" reload:"true" doc:"Hash of the password, as naru passwd prints it: argon2id. May be absent if there is a certificate. Taken over from elsewhere, bcrypt ($2a$, $2b$, $2y$) or Mosquitto's $7$."`
	Certificate bool      `yaml:"certificate" reload:"true" doc:"Let the user in by a client certificate that names them, without a password. See tls.user_from of the listeners."`
	ACL         *[]string `yaml:"acl" reload:"true" doc:"Rules such as 'read a/#', 'write b/%c/x', 'readwrite c/+', 'configure d/#', 'deny e/#'. Absent: everything is allowed; [] allows nothing."`
	VHosts      *[]string `yaml:"vhosts" reload:"true" doc:"Names of the vhosts the user may enter. Absent: all; [] none."`
	Tags        []string  `yaml:"tags" reload:"true" doc:"Tags as RabbitMQ has them, at most 32. impersonator: may publish in the name of any user. Those that mean nothing to naru are ignored."`

	MaxConnections *int `yaml:"max_connections" reload:"true" doc:"Connections the user may have at the same time. Absent or negative: any number; 0: none."`
	MaxChannels    *int `yaml:"max_channels" reload:"true" doc:"AMQP channels in all connections of the user together. Absent or negative: any number; 0: none."`

	Permissions      *map[string]Permission                `yaml:"permissions" reload:"true" doc:"Permissions as RabbitMQ has them, by vhost. Absent: only the acl counts; {} allows nothing. The user may enter these vhosts and no others. With an acl, both must allow."`
	TopicPermissions map[string]map[string]TopicPermission `yaml:"topic_permissions" reload:"true" doc:"Topic permissions as RabbitMQ has them, by vhost and exchange. They only narrow: an exchange without any is not restricted."`
}

// A Permission is three regular expressions (RE2), each to be found somewhere in
// the name of a queue or exchange. The default exchange is called amq.default.
type Permission struct {
	Configure string `yaml:"configure" reload:"true" doc:"Names that may be declared and deleted. Empty or ^$: none."`
	Write     string `yaml:"write" reload:"true" doc:"Exchanges to publish to, queues and exchanges to bind. Empty or ^$: none."`
	Read      string `yaml:"read" reload:"true" doc:"Queues to consume from, exchanges to bind from or subscribe at. Empty or ^$: none."`
}

// A TopicPermission is two regular expressions (RE2), each to be found somewhere
// in a routing key; an MQTT topic is taken as the key that it becomes, with '.'
// for '/'.
type TopicPermission struct {
	Write string `yaml:"write" reload:"true" doc:"Keys to publish with. {username}, {vhost} and {client_id} stand for those of the client. Empty or ^$: none."`
	Read  string `yaml:"read" reload:"true" doc:"Keys to bind with, filters to subscribe to, and what MQTT clients receive. Placeholders as in write. Empty or ^$: none."`
}

// Anonymous says what clients without a user name may do.
type Anonymous struct {
	Enabled      bool      `yaml:"enabled" reload:"true" doc:"Let clients in that give no user name."`
	LoopbackOnly bool      `yaml:"loopback_only" reload:"true" doc:"Let them in from this machine only. A proxy on this machine makes its clients look local."`
	ACL          *[]string `yaml:"acl" reload:"true" doc:"Their rules. Absent: everything is allowed; [] allows nothing."`
	VHosts       *[]string `yaml:"vhosts" reload:"true" doc:"Names of the vhosts they may enter. Absent: all; [] none."`
}

// guest is the user of a broker that was told nothing. Its password is no
// secret, so a fixed salt gives nothing away.
const (
	guest     = "guest"
	guestHash = "$argon2id$v=19$m=19456,t=2,p=1$7wCMiUhTUZVivhZWycAaVg$krZGYTKIWS+JSdZl9stOtCDKu8UM5AmXy4CVF2MSzJY"
)

// DefaultConfig lets in, from this machine only, anonymous clients and the user guest
// with the password guest.
func DefaultConfig() Config {
	return Config{
		Users:     map[string]User{guest: {Password: guestHash}},
		Anonymous: Anonymous{Enabled: true, LoopbackOnly: true},
	}
}

// Validate reports everything that is wrong, each with its path. It never shows
// a password.
func (c Config) Validate() error {
	_, err := compile(c)
	return err
}
