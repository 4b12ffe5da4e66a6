package authfile

import (
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// A verifier is a stored password hash that was found sound.
type verifier interface {
	// verify takes the time that the hash was made to take, right or wrong.
	verify(password []byte) bool
}

// What new hashes cost: the least that OWASP's cheat sheet recommends for
// argon2id (19 MiB, 2 passes, 1 lane). Not more, because a broker checks
// passwords in bursts, when all its clients come back: this is 25 ms of
// one core, and a machine with 8 of them takes 320 logins a second. One lane,
// because the cores are busy with other logins.
const (
	argonMemory = 19456 // KiB
	argonTime   = 2
	argonLanes  = 1
	argonSalt   = 16
	argonKey    = 32
)

// What a hash from elsewhere may cost at most. Whoever writes the configuration
// is no enemy, but a typing error in a parameter must not stop the broker from
// answering logins: at these limits a check takes one or two seconds.
const (
	maxArgonMemory = 256 << 10 // KiB
	maxArgonWork   = 1 << 20   // KiB, memory times passes
	maxArgonLanes  = 16
	maxBcryptCost  = 14
	maxIterations  = 1_000_000
)

var errNotHash = errors.New("this is not a password hash: let naru passwd make one")

// HashPassword returns the argon2id hash of a password, in the form in which it
// stands in the configuration.
func HashPassword(password []byte) (string, error) {
	if len(password) == 0 {
		return "", errors.New("the password is empty")
	}
	h := argon{memory: argonMemory, time: argonTime, lanes: argonLanes, salt: make([]byte, argonSalt)}
	rand.Read(h.salt) // never fails
	h.sum = h.derive(password, argonKey)
	return h.String(), nil
}

// parseHash reads a stored hash. Its errors do not show it: it may be a password
// that somebody forgot to hash.
func parseHash(stored string) (verifier, error) {
	switch {
	case stored == "":
		return nil, errors.New("there is none: let naru passwd make a hash")
	case strings.HasPrefix(stored, "$argon2id$"):
		return parseArgon(stored)
	case strings.HasPrefix(stored, "$argon2"):
		return nil, errors.New("of the argon2 hashes only argon2id is accepted: let naru passwd make one")
	case strings.HasPrefix(stored, "$2"):
		return parseBcrypt(stored)
	case strings.HasPrefix(stored, "$7$"):
		return parseMosquitto(stored)
	case strings.HasPrefix(stored, "$6$"):
		return nil, errors.New("a salted SHA-512, as Mosquitto 1 wrote, is too cheap to guess: let naru passwd make a hash")
	}
	return nil, errNotHash
}

// argon is a PHC string:
//
//	$argon2id$v=19$m=19456,t=2,p=1$<salt>$<sum>    base64 without padding
type argon struct {
	memory, time uint32
	lanes        uint8
	salt, sum    []byte
}

func parseArgon(stored string) (verifier, error) {
	part := strings.Split(stored, "$")
	if len(part) != 6 {
		return nil, errNotHash
	}
	if part[2] != "v=19" {
		return nil, errors.New("argon2id: only version 19 is accepted")
	}
	var n [3]uint32
	settings := strings.Split(part[3], ",")
	if len(settings) != len(n) {
		return nil, errNotHash
	}
	for i, name := range [...]string{"m=", "t=", "p="} {
		text, ok := strings.CutPrefix(settings[i], name)
		v, err := strconv.ParseUint(text, 10, 32)
		if !ok || err != nil {
			return nil, errNotHash
		}
		n[i] = uint32(v)
	}
	memory, time, lanes := n[0], n[1], n[2]
	switch {
	case lanes < 1 || lanes > maxArgonLanes:
		return nil, fmt.Errorf("argon2id: p=%d is not between 1 and %d", lanes, maxArgonLanes)
	case memory < 8*lanes || memory > maxArgonMemory:
		return nil, fmt.Errorf("argon2id: m=%d is not between %d and %d", memory, 8*lanes, maxArgonMemory)
	case time < 1 || uint64(memory)*uint64(time) > maxArgonWork:
		return nil, fmt.Errorf("argon2id: t=%d is not between 1 and %d, the most for m=%d", time, maxArgonWork/memory, memory)
	}
	salt, ok := decode(base64.RawStdEncoding, part[4], 8, 64)
	if !ok {
		return nil, errors.New("argon2id: the salt is not 8 to 64 bytes in base64 without padding")
	}
	sum, ok := decode(base64.RawStdEncoding, part[5], 16, 64)
	if !ok {
		return nil, errors.New("argon2id: the hash is not 16 to 64 bytes in base64 without padding")
	}
	return &argon{memory: memory, time: time, lanes: uint8(lanes), salt: salt, sum: sum}, nil
}

func (h *argon) String() string {
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version,
		h.memory, h.time, h.lanes, b64.EncodeToString(h.salt), b64.EncodeToString(h.sum))
}

func (h *argon) derive(password []byte, size int) []byte {
	return argon2.IDKey(password, h.salt, h.time, h.memory, h.lanes, uint32(size))
}

func (h *argon) verify(password []byte) bool {
	return subtle.ConstantTimeCompare(h.derive(password, len(h.sum)), h.sum) == 1
}

// decode is strict: a strict decoder still skips line breaks.
func decode(enc *base64.Encoding, text string, least, most int) ([]byte, bool) {
	b, err := enc.Strict().DecodeString(text)
	return b, err == nil && !strings.ContainsAny(text, "\r\n") && least <= len(b) && len(b) <= most
}

// newDecoy is a hash for which there is no password: its sum was never derived.
func newDecoy() verifier {
	h := &argon{memory: argonMemory, time: argonTime, lanes: argonLanes,
		salt: make([]byte, argonSalt), sum: make([]byte, argonKey)}
	rand.Read(h.salt)
	rand.Read(h.sum)
	return h
}

// bcrypted is a bcrypt hash. It knows only the first 72 bytes of a password, as
// it did where it comes from.
type bcrypted string

var bcryptForm = regexp.MustCompile(`^\$2[aby]\$[0-9]{2}\$[./A-Za-z0-9]{53}$`)

func parseBcrypt(stored string) (verifier, error) {
	if !bcryptForm.MatchString(stored) {
		return nil, errors.New("bcrypt: expected $2a$, $2b$ or $2y$, the cost, and 53 characters of salt and hash")
	}
	cost, err := bcrypt.Cost([]byte(stored))
	if err != nil || cost > maxBcryptCost {
		return nil, fmt.Errorf("bcrypt: cost %s is not between %d and %d", stored[4:6], bcrypt.MinCost, maxBcryptCost)
	}
	return bcrypted(stored), nil
}

func (h bcrypted) verify(password []byte) bool {
	return bcrypt.CompareHashAndPassword([]byte(h), password) == nil
}

// mosquitto is a line of a mosquitto_passwd file, behind the user name:
// PBKDF2 with SHA-512.
//
//	$7$<iterations>$<salt>$<sum>    base64 with padding
//
// Its default of 101 iterations is cheap to guess; Naru accepts it so that a
// move does not wait for everybody to choose a new password.
type mosquitto struct {
	iterations int
	salt, sum  []byte
}

func parseMosquitto(stored string) (verifier, error) {
	part := strings.Split(stored, "$")
	if len(part) != 5 {
		return nil, errors.New("mosquitto: expected $7$iterations$salt$hash")
	}
	n, err := strconv.ParseUint(part[2], 10, 31)
	if err != nil || n < 1 || n > maxIterations {
		return nil, fmt.Errorf("mosquitto: the number of iterations is not between 1 and %d", maxIterations)
	}
	salt, ok := decode(base64.StdEncoding, part[3], 1, 64)
	if !ok {
		return nil, errors.New("mosquitto: the salt is not 1 to 64 bytes in base64")
	}
	sum, ok := decode(base64.StdEncoding, part[4], sha512.Size, sha512.Size)
	if !ok {
		return nil, fmt.Errorf("mosquitto: the hash is not %d bytes in base64", sha512.Size)
	}
	return &mosquitto{iterations: int(n), salt: salt, sum: sum}, nil
}

func (h *mosquitto) verify(password []byte) bool {
	sum, err := pbkdf2.Key(sha512.New, string(password), h.salt, h.iterations, len(h.sum))
	return err == nil && subtle.ConstantTimeCompare(sum, h.sum) == 1
}
