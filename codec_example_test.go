package pawl_test

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"log"
	"strings"

	"github.com/pawlhq/pawl"
)

// Keyring is a Codec that encrypts args with AES-GCM. What it stores is the key's name, a colon, a random nonce and the
// ciphertext; the kind is authenticated with it, so that args cannot be moved to a job of another kind.
//
// To change keys: give the new one to every process as another to read with, then make it the one to write with, and
// take the old one away when no job is left that was inserted with it.
type Keyring struct {
	write string // The name of the key to encrypt with.
	keys  map[string]cipher.AEAD
}

// NewKeyring takes keys of 16, 24 or 32 bytes by name; names have no colon.
func NewKeyring(write string, keys map[string][]byte) (*Keyring, error) {
	ring := &Keyring{write: write, keys: map[string]cipher.AEAD{}}
	for name, key := range keys {
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, fmt.Errorf("key %s: %w", name, err)
		}
		if ring.keys[name], err = cipher.NewGCMWithRandomNonce(block); err != nil {
			return nil, err
		}
	}
	if ring.keys[write] == nil {
		return nil, fmt.Errorf("there is no key %s to write with", write)
	}
	return ring, nil
}

func (r *Keyring) Encode(kind string, args []byte) ([]byte, error) {
	return r.keys[r.write].Seal([]byte(r.write+":"), nil, args, []byte(kind)), nil
}

func (r *Keyring) Decode(kind string, stored []byte) ([]byte, error) {
	name, sealed, ok := strings.Cut(string(stored), ":")
	if !ok {
		return nil, errors.New("no key is named")
	}
	key := r.keys[name]
	if key == nil {
		return nil, fmt.Errorf("the key %q is not on the ring", name)
	}
	return key.Open(nil, nil, []byte(sealed), []byte(kind))
}

// Args encrypted with AES-GCM, and a change of keys.
func ExampleCodec() {
	spring, autumn := []byte("0123456789abcdef"), make([]byte, 32) // From where you keep secrets.
	rand.Read(autumn)

	before, err := NewKeyring("spring", map[string][]byte{"spring": spring})
	if err != nil {
		log.Fatal(err)
	}
	after, err := NewKeyring("autumn", map[string][]byte{"spring": spring, "autumn": autumn})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := pawl.New(pool, pawl.Config{Codec: after}); err != nil {
		log.Fatal(err)
	}

	// What the client does with it, at insert and before the handler:
	old, _ := before.Encode("welcome", []byte(`{"UserID":42}`))
	args, err := after.Decode("welcome", old)
	fmt.Printf("%s %v\n", args, err)

	stored, _ := after.Encode("welcome", []byte(`{"UserID":43}`))
	_, err = before.Decode("welcome", stored)
	fmt.Println(err)
	_, err = after.Decode("goodbye", stored)
	fmt.Println(err)
	// Output:
	// {"UserID":42} <nil>
	// the key "autumn" is not on the ring
	// cipher: message authentication failed
}
