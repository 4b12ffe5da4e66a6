package authfile

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/narumq/naru/core"
)

// Names that the permissions know.
const (
	defaultExchange = "amq.default" // what the exchange without a name is called
	topicExchange   = "amq.topic"   // where the subscriptions of sessions are
)

// Permissions are what a user may do by the notation of RabbitMQ. The zero value
// allows everything.
type permissions struct {
	given  bool // there are permissions: the vhosts are these and no others
	vhosts map[string]*permission
	topics map[string]map[string]*topicPermission // by vhost and exchange
}

type permission struct{ configure, write, read nameMatcher }

type topicPermission struct{ write, read keyMatcher }

func compilePermissions(path, user string, written User, add func(error)) permissions {
	var ps permissions
	if written.Permissions != nil {
		ps.given = true
		ps.vhosts = make(map[string]*permission, len(*written.Permissions))
		for _, vhost := range slices.Sorted(maps.Keys(*written.Permissions)) {
			w, p := (*written.Permissions)[vhost], &permission{}
			at := path + ".permissions." + printable(vhost)
			for _, one := range []struct {
				key, text string
				to        *nameMatcher
			}{{"configure", w.Configure, &p.configure}, {"write", w.Write, &p.write}, {"read", w.Read, &p.read}} {
				var err error
				if *one.to, err = compileNames(one.text); err != nil {
					add(fmt.Errorf("%s.%s: %w", at, one.key, err))
				}
			}
			ps.vhosts[vhost] = p
		}
	}
	if len(written.TopicPermissions) > 0 {
		ps.topics = make(map[string]map[string]*topicPermission, len(written.TopicPermissions))
	}
	for _, vhost := range slices.Sorted(maps.Keys(written.TopicPermissions)) {
		rows := written.TopicPermissions[vhost]
		ps.topics[vhost] = make(map[string]*topicPermission, len(rows))
		for _, exchange := range slices.Sorted(maps.Keys(rows)) {
			w, p := rows[exchange], &topicPermission{}
			at := path + ".topic_permissions." + printable(vhost) + "." + printable(exchange)
			var err error
			if p.write, err = compileKeys(w.Write, user, vhost); err != nil {
				add(fmt.Errorf("%s.write: %w", at, err))
			}
			if p.read, err = compileKeys(w.Read, user, vhost); err != nil {
				add(fmt.Errorf("%s.read: %w", at, err))
			}
			ps.topics[vhost][exchangeName(exchange)] = p
		}
	}
	return ps
}

// exchangeName is the name by which permissions know an exchange.
func exchangeName(name string) string {
	if name == "" {
		return defaultExchange
	}
	return name
}

// unrestricted says whether they leave nothing to ask, once a vhost is entered.
func (ps *permissions) unrestricted() bool {
	for _, p := range ps.vhosts {
		if !p.configure.all || !p.write.all || !p.read.all {
			return false
		}
	}
	return len(ps.topics) == 0
}

func (ps *permissions) mayEnter(vhost string) bool {
	return !ps.given || ps.vhosts[vhost] != nil
}

// allow answers for an identity that may be in its vhost.
func (ps *permissions) allow(p *policy, id *core.Identity, r core.Right) bool {
	var row *permission // nil allows everything
	if ps.given {
		if row = ps.vhosts[id.VHost]; row == nil {
			return false
		}
	}
	exchange := exchangeName(r.Exchange)
	switch r.Action {
	case core.ActionConfigure:
		return row == nil || row.configure.matches(resourceName(r))
	case core.ActionWrite:
		return row == nil || row.write.matches(resourceName(r))
	case core.ActionRead:
		return row == nil || row.read.matches(resourceName(r))
	case core.ActionPublish:
		if row != nil && !row.write.matchesText(exchange) {
			return false
		}
		topic := ps.topics[id.VHost][exchange]
		return topic == nil || topic.write.matches(p, id, r)
	case core.ActionSubscribe:
		if name, ok := ofQueue(r); ok {
			return row == nil || row.read.matches(name)
		}
		if row != nil && !row.read.matchesText(exchange) {
			return false
		}
	case core.ActionReceive:
		// The exchange is the one that was published to. What a session has
		// subscribed at, and lost the right to, is the topic exchange.
		if row != nil && !row.read.matchesText(topicExchange) {
			return false
		}
	default:
		return false
	}
	topic := ps.topics[id.VHost][exchange]
	return topic == nil || topic.read.matches(p, id, r)
}

var amqDefault = []byte(defaultExchange)

// resourceName is what a queue or exchange is asked for by.
func resourceName(r core.Right) []byte {
	if r.Resource == core.ResourceExchange && len(r.Address) == 0 {
		return amqDefault
	}
	return r.Address
}

// maxTags of a user.
const maxTags = 32

// tagBits are the tags that mean anything.
var tagBits = map[string]core.Tags{
	"administrator": core.TagAdministrator,
	"monitoring":    core.TagMonitoring,
	"policymaker":   core.TagPolicymaker,
	"management":    core.TagManagement,
	"impersonator":  core.TagImpersonator,
	"protected":     core.TagProtected,
}

// compileTags ignores the tags that mean nothing: whoever wrote them has a use
// for them.
func compileTags(tags []string) (bits core.Tags, err error) {
	if len(tags) > maxTags {
		return 0, fmt.Errorf("at most %d tags, found %d", maxTags, len(tags))
	}
	for _, tag := range tags {
		if tag == "" {
			return 0, errors.New("a tag is empty")
		}
		bits |= tagBits[tag]
	}
	return bits, nil
}
