// Package amqp holds conversations in AMQP 0-9-1 between clients and a whole
// broker, and plays them against Naru and against RabbitMQ.
//
// What a script expects is what RabbitMQ answers, so an expectation that only
// our own broker could meet is noticed. Where Debian's RabbitMQ is known to
// answer otherwise, because later versions do or because Naru chooses to, the
// script says why, and what RabbitMQ does is checked like any other
// expectation. The client that plays them is written for the tests (method.go,
// value.go, frame.go) and shares nothing with protocols/amqp.
//
// Scripts live in scripts/*.txt, what they show in statements.tsv. Beside them
// stand what applications do by the client libraries (TestPika, TestAmqplib,
// TestAmqp091) and amqp091-go's own tests (TestAmqp091Own).
//
// # Files
//
//	== name-of-the-script
//	covers: 9.24 e405                 statements shown
//	case one: 'x' ;; queue.get        the script runs once for each case, with
//	case two: 'y' ;; queue.get        $1, $2 and so on replaced by the parts
//	rabbitmq: differs [two] the reason     cases in brackets; none means all
//	# a comment
//	c1 open
//	c1.1 open
//	c1.1 call queue.declare queue='@@@@q' exclusive
//	! c1.1 < basic.get-empty
//	? c1.1 < basic.get-ok delivery-tag=1 | | 'x'
//
// A line that begins with "!" is ours where RabbitMQ is known to do something
// else, one with "?" is what it does. In a script (or case) marked "differs"
// RabbitMQ must fail, on a line marked "!", and must pass with the lines marked
// "?" in their place. @@@@ stands for four characters of the script's own.
//
// # Steps
//
// c1 is a connection, and c1.5 its channel 5.
//
//	c1 dial                       connect by TCP
//	c1 open [OPTIONS]             connect, log in, open the vhost; options are user, password,
//	                              vhost, frame-max, channel-max, heartbeat and capabilities
//	c1.1 open                     channel.open, channel.open-ok
//	c1.1 close, c1 close          the orderly end of a channel, of a connection
//	c1 drop                       close the socket
//	c1.1 METHOD                   send it
//	c1.1 < METHOD                 exactly this comes next on the channel
//	c1.1 call METHOD [-> ARGS]    send it; its own ok comes next, with these arguments
//	c1.1 until METHOD -> ARGS     call it until the answer is this, for what takes its time
//	c1.1 sync                     call something that changes nothing
//	c1.1 confirms 1-3 5 !4        these acks, and nacks, come next: in any order, with or without multiple
//	c1.1 < channel-error 404 METHOD TEXT      channel.close for the method, which we answer
//	c1 < connection-error 530 METHOD TEXT     the same for the connection, which then ends;
//	                              METHOD is "none" for the ids 0 and 0, "_" for any
//	c1 < close [after 1s]         the broker closes the socket, with nothing sent before
//	c1 < end [after 1s]           the broker ends the connection in whatever way
//	c1 < heartbeat                a heartbeat comes next; elsewhere they are passed over
//	c1 silent 300ms               nothing has come after this time
//	c1 bytes BYTES                send raw bytes
//	c1 < bytes BYTES              exactly these bytes come next
//	c1.1 frame 3 BYTES            send a frame of that type
//	c1.1 times 20 STEP            do it 20 times
//	sleep 100ms # why             the reason is not optional
//	restart, kill9                end the broker and start it again
//
// An expectation waits for ten seconds. A script ends with a check that
// nothing has come that it did not ask for.
//
// # Methods and values
//
//	basic.publish exchange='x' mandatory | delivery-mode=2 headers={a=1} | 'body'
//
// Arguments that are not named are zero, properties absent; a bit is set by its
// name. Arguments of an expectation that are not named must be zero as well.
//
//	'text' 'ab'*50 '\x00'     text; texts that touch are one
//	5 l:5 b:-1 t:true d:1.5   a number (I), or one of that field type: b B s u I i l T t f d
//	D:2/314 x:'bytes' V       decimal, bytes, void
//	{a=1 b={c='x'}} [1 'x']   table, array
//	'text'... {a=1 ...}       a pattern: text that begins so, a table with these and other fields
//	_                         anything; also for all properties, and for a body
//	$name                     captured the first time, the same value from then on
package amqp
