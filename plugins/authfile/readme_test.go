package authfile

import (
	"bytes"
	"os"
	"regexp"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/narumq/naru/core"
)

// The examples of the README are read, and do what they say.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(readme, -1)
	if len(found) != 1 {
		t.Fatalf("%d examples", len(found))
	}
	c := DefaultConfig()
	c.Users = nil // what a map in a file does to the default
	dec := yaml.NewDecoder(bytes.NewReader(found[0][1]))
	dec.KnownFields(true)
	if err := dec.Decode(&c); err != nil {
		t.Fatal(err)
	}
	a := mustNew(t, c)
	for user, password := range map[string]string{"operator": "guest", "sensor": "U*U", "billing": "wonderland", "shop": "guest"} {
		if _, err := a.login(login(user, password, remote)); err != nil {
			t.Errorf("%s: %v", user, err)
		}
	}
	shop := &core.Identity{User: "shop", VHost: "/"}
	for _, q := range []struct {
		core.Right
		want bool
	}{
		{queue(conf, "shop.orders"), true},
		{queue(conf, "orders"), false},
		{key(pub, "shop.events", "any"), true},
		{key(pub, "", "shop.orders"), false},
		{topic(pub, "news/shop/today"), true},
		{topic(pub, "news/other/today"), false},
		{topic(sub, "news/#"), false},
	} {
		if got := a.allows(shop, q.Right); got != q.want {
			t.Errorf("shop: %+v %q: %v", q.Right, q.Address, got)
		}
	}
	for _, q := range []struct {
		user, client string
		what         core.Action
		address      string
		want         bool
	}{
		{"operator", "x", pub, "anything", true},
		{"operator", "x", pub, "vault/x", false},
		{"operator", "x", recv, "$SYS/x", true},
		{"sensor", "s1", pub, "devices/s1/temperature", true},
		{"sensor", "s1", pub, "devices/s2/temperature", false},
		{"sensor", "s1", sub, "commands/s1", true},
		{"sensor", "s1", sub, "devices/#", false},
		{"billing", "", conf, "orders.eu", true},
		{"billing", "", conf, "orders.archive", false},
		{"billing", "", recv, "orders/1", true},
		{"billing", "", recv, "orders/archive/1", false},
		{"", "", recv, "weather/today", true},
		{"", "", pub, "weather/today", false},
	} {
		id := &core.Identity{User: q.user, Anonymous: q.user == "", ClientID: q.client, VHost: "/", Peer: remote}
		if got := a.may(id, q.what, q.address); got != q.want {
			t.Errorf("%+v: %v", q, got)
		}
	}
}
