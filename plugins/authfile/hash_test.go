package authfile

import (
	"strings"
	"testing"
)

func TestHashesFromElsewhere(t *testing.T) {
	for _, c := range []struct{ from, hash, password string }{
		{"the argon2 reference implementation's tests",
			"$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", "password"},
		{"mosquitto_passwd 2.0.11",
			"$7$101$wVviMNFquX6rNnv+$IMYs8waXx40KQFxIXZly2diW7kv8o1iMs6rm+skyiP37EycJUCvbb4Zwr6F9xV/kUytOLVCl7ojlYKVqbOqBJw==", "wonderland"},
		{"crypt_blowfish's tests", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "U*U"},
		{"the same as $2b$", "$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "U*U"},
		{"the same as $2y$", "$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "U*U"},
		{"our default", guestHash, "guest"},
	} {
		h, err := parseHash(c.hash)
		if err != nil {
			t.Errorf("%s: %v", c.from, err)
			continue
		}
		if !h.verify([]byte(c.password)) {
			t.Errorf("%s: the password is not recognised", c.from)
		}
		for _, wrong := range []string{c.password + "x", c.password[1:], strings.ToUpper(c.password) + " ", ""} {
			if h.verify([]byte(wrong)) {
				t.Errorf("%s: %q is taken for the password", c.from, wrong)
			}
		}
	}
}

func TestHashPassword(t *testing.T) {
	stored, err := HashPassword([]byte("päss wörd\n"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(stored, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("hash %s", stored)
	}
	h, err := parseHash(stored)
	if err != nil {
		t.Fatal(err)
	}
	if !h.verify([]byte("päss wörd\n")) || h.verify([]byte("päss wörd")) {
		t.Error("wrong verdict")
	}
	if again, _ := HashPassword([]byte("päss wörd\n")); again == stored {
		t.Error("no salt")
	}
	if _, err := HashPassword(nil); err == nil {
		t.Error("an empty password is hashed")
	}
}

func TestBadHashes(t *testing.T) {
	const (
		salt = "c29tZXNhbHQ"
		sum  = "CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
		tail = "$" + salt + "$" + sum
		long = "IMYs8waXx40KQFxIXZly2diW7kv8o1iMs6rm+skyiP37EycJUCvbb4Zwr6F9xV/kUytOLVCl7ojlYKVqbOqBJw=="
	)
	for hash, want := range map[string]string{
		"":                                                               "naru passwd",
		"hunter2":                                                        "naru passwd",
		"$1$abcdefgh$0123456789012345678901":                             "naru passwd",
		"$5$salt$hash":                                                   "naru passwd",
		"$6$salt$hash":                                                   "too cheap",
		"$7$":                                                            "expected",
		"$argon2i$v=19$m=65536,t=2,p=1" + tail:                           "only argon2id",
		"$argon2d$v=19$m=65536,t=2,p=1" + tail:                           "only argon2id",
		"$argon2id$m=65536,t=2,p=1" + tail:                               "not a password hash",
		"$argon2id$v=16$m=65536,t=2,p=1" + tail:                          "version 19",
		"$argon2id$v=19$t=2,m=65536,p=1" + tail:                          "not a password hash",
		"$argon2id$v=19$m=65536,t=2" + tail:                              "not a password hash",
		"$argon2id$v=19$m=-1,t=2,p=1" + tail:                             "not a password hash",
		"$argon2id$v=19$m=4294967296,t=1,p=1":                            "not a password hash",
		"$argon2id$v=19$m=19456,t=2,p=1,x=1":                             "not a password hash",
		"$argon2id$v=19$m=262145,t=1,p=1" + tail:                         "m=262145 is not between",
		"$argon2id$v=19$m=7,t=1,p=1" + tail:                              "m=7 is not between",
		"$argon2id$v=19$m=100,t=1,p=16" + tail:                           "m=100 is not between",
		"$argon2id$v=19$m=19456,t=0,p=1" + tail:                          "t=0 is not between",
		"$argon2id$v=19$m=65536,t=17,p=1" + tail:                         "t=17 is not between 1 and 16",
		"$argon2id$v=19$m=19456,t=2,p=0" + tail:                          "p=0 is not between",
		"$argon2id$v=19$m=19456,t=2,p=17" + tail:                         "p=17 is not between",
		"$argon2id$v=19$m=19456,t=2,p=257" + tail:                        "p=257 is not between", // not 1
		"$argon2id$v=19$m=19456,t=2,p=1$c29t$" + sum:                     "salt",
		"$argon2id$v=19$m=19456,t=2,p=1$" + salt + "=$" + sum:            "salt",
		"$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$c29t":               "hash is not 16",
		"$argon2id$v=19$m=19456,t=2,p=1" + tail + "$":                    "not a password hash",
		"$argon2id$v=19$m=19456,t=2,p=1" + tail + "\n":                   "hash is not 16",
		"$2x$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy":   "expected",
		"$2a$15$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy":   "cost 15 is not between",
		"$2a$03$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy":   "cost 03 is not between",
		"$2a$99$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy":   "cost 99 is not between",
		"$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhW":    "expected",
		"$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy\n": "expected",
		"$7$0$wVviMNFquX6rNnv+$" + long:                                  "iterations",
		"$7$1000001$wVviMNFquX6rNnv+$" + long:                            "iterations",
		"$7$99999999999999999999$wVviMNFquX6rNnv+$" + long:               "iterations",
		"$7$101$$" + long:                                                "salt",
		"$7$101$wVviMNFquX6rNnv+$IMYs":                                   "hash is not 64",
		"$7$101$wVviMNFquX6rNnv+$" + long + "$":                          "expected",
	} {
		if _, err := parseHash(hash); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q in it", hash, err, want)
		}
	}
}

// No hash that is accepted may panic or take for ever.
func FuzzParseHash(f *testing.F) {
	f.Add(guestHash)
	f.Add("$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW")
	f.Add("$7$101$wVviMNFquX6rNnv+$IMYs8waXx40KQFxIXZly2diW7kv8o1iMs6rm+skyiP37EycJUCvbb4Zwr6F9xV/kUytOLVCl7ojlYKVqbOqBJw==")
	f.Fuzz(func(t *testing.T, stored string) {
		h, err := parseHash(stored)
		if (h == nil) == (err == nil) {
			t.Fatalf("hash %v, error %v", h, err)
		}
		if a, ok := h.(*argon); ok {
			if uint64(a.memory)*uint64(a.time) > maxArgonWork || a.memory > maxArgonMemory {
				t.Fatalf("%q accepted", stored)
			}
			if again, err := parseHash(a.String()); err != nil || again.(*argon).String() != a.String() {
				t.Fatalf("%q is written %q: %v", stored, a, err)
			}
		}
		if h != nil && !tooDear(h) {
			h.verify([]byte("x"))
		}
	})
}

func tooDear(h verifier) bool {
	switch h := h.(type) {
	case *argon:
		return h.memory*h.time > 1<<12
	case bcrypted:
		return h[4:6] > "06"
	case *mosquitto:
		return h.iterations > 10_000
	}
	return false
}

func BenchmarkVerify(b *testing.B) {
	for name, hash := range map[string]string{
		"argon2id":       guestHash,
		"argon2id-most":  strings.Replace(guestHash, "m=19456,t=2", "m=262144,t=4", 1),
		"bcrypt-10":      "$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy",
		"bcrypt-most":    "$2a$14$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy",
		"mosquitto-101":  "$7$101$wVviMNFquX6rNnv+$IMYs8waXx40KQFxIXZly2diW7kv8o1iMs6rm+skyiP37EycJUCvbb4Zwr6F9xV/kUytOLVCl7ojlYKVqbOqBJw==",
		"mosquitto-most": "$7$1000000$wVviMNFquX6rNnv+$IMYs8waXx40KQFxIXZly2diW7kv8o1iMs6rm+skyiP37EycJUCvbb4Zwr6F9xV/kUytOLVCl7ojlYKVqbOqBJw==",
	} {
		b.Run(name, func(b *testing.B) {
			h, err := parseHash(hash)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				h.verify([]byte("wrong"))
			}
		})
	}
}
