package authfile

import (
	"strings"
	"testing"
)

func TestParseRule(t *testing.T) {
	for _, c := range []struct {
		text string
		want access
	}{
		{"read a/#", mayRead},
		{"write b/%c/x", mayWrite},
		{"readwrite c/+/d", mayRead | mayWrite},
		{"deny e/#", mayNot},
		{"configure orders/#", mayConfigure},
		{"topic read a", mayRead},
		{"topic a/b", mayRead | mayWrite}, // Mosquitto's default
		{"pattern %u/#", mayRead | mayWrite},
		{"pattern deny dev-%c/x", mayNot},
		{"  read \t a b/c ", mayRead}, // a space in the topic
		{"read /", mayRead},
		{"read /#", mayRead},
		{"read $SYS/#", mayRead},
		{"read 100%/%x", mayRead}, // no placeholders
	} {
		what, p, err := parseRule(c.text)
		if err != nil || what != c.want || p == nil {
			t.Errorf("%q: %v %v, want %v", c.text, what, err, c.want)
		}
	}
}

func TestBadRules(t *testing.T) {
	for text, want := range map[string]string{
		"":                       "no pattern",
		"read":                   `no pattern behind "read"`,
		"topic":                  "no pattern",
		"topic read":             `no pattern behind "read"`,
		"a/b":                    `"a/b" is none of`,
		"raed a/b":               `"raed" is none of`,
		"topic raed a/b":         `"raed" is none of`,
		"Read a/b":               `"Read" is none of`,
		"user roger":             `"user" is none of`,
		"topic read a/%c":        "need the word pattern",
		"read a/#/b":             "# must be the last level",
		"read a#":                `which "a#" is not`,
		"read a/+b":              `which "+b" is not`,
		"read a/%c+":             `which "%c+" is not`,
		"read $share/g/a":        "what stands behind $share",
		"read a\x00b":            "not valid text",
		"read \xff":              "not valid text",
		"read " + deep("/"):      "more than 63 levels",
		"read " + deep("."):      "more than 63 levels",
		"deny " + long(1<<16):    "longer than a topic can be",
		"readwrite a/b # remark": `which "b # remark" is not`,
	} {
		if _, _, err := parseRule(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: error %v, want %q in it", text, err, want)
		}
	}
}

func deep(sep string) string { return strings.Repeat("a"+sep, maxLevels) + "a" }
func long(n int) string      { return strings.Repeat("a", n) }

func TestDeepestRule(t *testing.T) {
	text := strings.Repeat("a/", maxLevels-2) + "+/#"
	p, err := compilePattern(text)
	if err != nil {
		t.Fatal(err)
	}
	filter := []byte(strings.Repeat("+/", maxLevels+5) + "#")
	if l, ok := p.fill(me, 0, nil); !ok || !l.overlaps(filter, 0) {
		t.Error("no overlap")
	}
}

// Every problem is reported, with its path and the text of the rule, and
// nothing of what stands where a hash should.
func TestValidateReportsEverything(t *testing.T) {
	const canary = "hunter2canary"
	c := Config{
		Users: map[string]User{
			"alice": {Password: canary, ACL: list("raed a/#", "read ok", "write b/#/c")},
			"b.ob":  {Password: "$argon2id$v=19$m=1,t=1,p=1$" + canary + "$" + canary},
			"carol": {Password: "$2y$31$" + canary},
			"dan":   {},
			"":      {Password: guestHash},
			"e\nve": {Password: "$7$0$" + canary + "$" + canary},
		},
		Anonymous: Anonymous{ACL: list("deny")},
		ACL:       []string{"pattern write %c/#", "hello"},
	}
	err := c.Validate()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		`users.alice.password: this is not a password hash: let naru passwd make one`,
		`users.alice.acl.0: rule "raed a/#": "raed" is none of`,
		`users.alice.acl.2: rule "write b/#/c": # must be the last level`,
		`users."b.ob".password: argon2id: m=1`,
		`users.carol.password: bcrypt`,
		`users.dan.password: there is none: let naru passwd`,
		`users."": a user needs a name`,
		`users."e\nve".password: mosquitto`,
		`anonymous.acl.0: rule "deny": there is no pattern`,
		`acl.1: rule "hello"`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("not reported: %s", want)
		}
	}
	if n := strings.Count(err.Error(), "\n") + 1; n != 10 {
		t.Errorf("%d problems, want 10", n)
	}
	if strings.Contains(err.Error(), canary) {
		t.Error("a password is shown")
	}
	if t.Failed() {
		t.Log(err)
	}
	if _, newErr := New(c); newErr == nil || newErr.Error() != err.Error() {
		t.Error("New and Validate differ")
	}
	if err := DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
}

func list(rules ...string) *[]string {
	if rules == nil {
		rules = []string{}
	}
	return &rules
}
