// Prints every new room. go mod init rooms && go get github.com/rabbitmq/amqp091-go && go run consumer.go
package main

import (
	"cmp"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"

	amqp "github.com/rabbitmq/amqp091-go"
)

func main() {
	connection, err := amqp.Dial(cmp.Or(os.Getenv("AMQP_URL"), "amqp://guest:guest@localhost"))
	check(err)
	channel, err := connection.Channel()
	check(err)
	_, err = channel.QueueDeclare("rooms-go", true, false, false, false, amqp.Table{"x-queue-type": "quorum"})
	check(err)
	check(channel.QueueBind("rooms-go", "*.*.room.created.*", "hookline.events", false, nil))
	check(channel.Qos(100, 0, false))
	messages, err := channel.Consume("rooms-go", "", false, false, false, false, nil)
	check(err)
	fmt.Fprintln(os.Stderr, "waiting for events")
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	go func() {
		<-stop
		check(connection.Close()) // ends the loop below
	}()
	for message := range messages {
		fmt.Println(message.Headers["cloudEvents_type"], message.Headers["cloudEvents_subject"], string(message.Body))
		check(message.Ack(false)) // after the work: an unacknowledged message is delivered again
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
