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
