// An ingress as a good Go program does it: net/http, the signature over the raw body, identity from the JSON, a
// CloudEvent on the same kind of topic exchange, and the answer once RabbitMQ has confirmed.
//
// Usage: go_ingress PORT AMQP_URL QUEUE SECRET
package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	exchange   = "reference.events"
	maxBody    = 1 << 20
	partitions = 16
	channels   = 4
	confirmS   = 5 * time.Second
)

var types = map[int]string{
	101: "room.created", 102: "room.ended", 103: "participant.joined", 104: "participant.left",
	105: "participant.joined", 106: "participant.left", 111: "participant.role_changed", 112: "participant.role_changed",
}

// notice is what identifies a callback of Kingsoft KRTC.
type notice struct {
	EventType int `json:"eventType"`
	ProductID int `json:"productId"`
	Payload   struct {
		ChannelName string          `json:"channelName"`
		Ts          int64           `json:"ts"`
		UID         json.RawMessage `json:"uid"`
		ClientSeq   int64           `json:"clientSeq"`
	} `json:"payload"`
}

type ingress struct {
	secret   []byte
	channels []*amqp.Channel
	next     atomic.Uint64
	attempt  atomic.Uint64
}

func (g *ingress) receive(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if !g.isGenuine(r.Header.Get("KRTC-Signature"), body) {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	var n notice
	if err := json.Unmarshal(body, &n); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if err := g.publish(r.Context(), &n, body, r.Header.Get("Content-Type")); err != nil {
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write([]byte("{}"))
}

func (g *ingress) isGenuine(signature string, body []byte) bool {
	given, err := hex.DecodeString(signature)
	if err != nil {
		return false
	}
	mac := hmac.New(sha256.New, g.secret)
	mac.Write(body)
	return hmac.Equal(given, mac.Sum(nil))
}

func (g *ingress) publish(ctx context.Context, n *notice, body []byte, contentType string) error {
	kind, known := types[n.EventType]
	if !known {
		kind = "unknown." + strconv.Itoa(n.EventType)
	}
	room := n.Payload.ChannelName
	facts := fmt.Sprintf("reference\x00%s\x00%d\x00%s\x00%s\x00%d\x00%d",
		kind, n.ProductID, room, n.Payload.UID, n.Payload.Ts, n.Payload.ClientSeq)
	id := sha256.Sum256([]byte(facts))
	message := amqp.Publishing{
		Headers: amqp.Table{
			"cloudEvents_id":          hex.EncodeToString(id[:16]),
			"cloudEvents_source":      "/hookline/krtc/reference",
			"cloudEvents_type":        kind,
			"cloudEvents_subject":     room,
			"cloudEvents_time":        time.Unix(n.Payload.Ts, 0).UTC().Format(time.RFC3339),
			"cloudEvents_specversion": "1.0",
			"hookline-received-at":    time.Now().UTC().Format(time.RFC3339Nano),
		},
		ContentType:  contentType,
		DeliveryMode: amqp.Persistent,
		MessageId:    strconv.FormatUint(g.attempt.Add(1), 16),
		Body:         body,
	}
	key := fmt.Sprintf("krtc.reference.%s.p%02d", kind, crc32.ChecksumIEEE([]byte(room))%partitions)
	channel := g.channels[g.next.Add(1)%channels]
	confirm, err := channel.PublishWithDeferredConfirmWithContext(ctx, exchange, key, false, false, message)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, confirmS)
	defer cancel()
	acked, err := confirm.WaitContext(ctx)
	if err == nil && !acked {
		err = fmt.Errorf("not confirmed")
	}
	return err
}

func open(url, queue string, secret []byte) (*ingress, error) {
	connection, err := amqp.Dial(url)
	if err != nil {
		return nil, err
	}
	made := &ingress{secret: secret}
	for range channels {
		channel, err := connection.Channel()
		if err != nil {
			return nil, err
		}
		if err := channel.Confirm(false); err != nil {
			return nil, err
		}
		made.channels = append(made.channels, channel)
	}
	first := made.channels[0]
	if err := first.ExchangeDeclare(exchange, "topic", true, false, false, false, nil); err != nil {
		return nil, err
	}
	if _, err := first.QueueDeclare(queue, true, false, false, false, amqp.Table{"x-queue-type": "quorum"}); err != nil {
		return nil, err
	}
	return made, first.QueueBind(queue, "#", exchange, false, nil)
}

func main() {
	if len(os.Args) != 5 {
		log.Fatal("usage: go_ingress PORT AMQP_URL QUEUE SECRET")
	}
	made, err := open(os.Args[2], os.Args[3], []byte(os.Args[4]))
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/hooks/", made.receive)
	server := &http.Server{Addr: "127.0.0.1:" + os.Args[1], Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		<-stop
		_ = server.Shutdown(context.Background())
	}()
	if err := server.ListenAndServe(); err != http.ErrServerClosed {
		log.Fatal(err)
	}
}
