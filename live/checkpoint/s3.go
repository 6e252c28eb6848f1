package checkpoint

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// s3 is a Store in S3-compatible storage. An object of S3 is there whole or not at all, and durable once it is acknowledged.
//
// The client is minio-go: it is made for S3-compatible storage of any maker, takes the variables of the AWS tools, and is one package where
// the AWS SDK is a dozen modules for the same five calls.
type s3 struct {
	c              *minio.Client
	bucket, prefix string // "" or ending in a slash
}

// Environment says which variables a process needs to open a store as this one does: those of the AWS tools.
var Environment = []string{
	"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3",
	"AWS_PROFILE", "AWS_SHARED_CREDENTIALS_FILE", "HOME",
}

// partSize is what of a large object is in memory while it is sent.
const partSize = 16 << 20

func openS3(place string, getenv func(string) string) (Store, error) {
	u, err := url.Parse(place)
	if err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return nil, fmt.Errorf("checkpoints: %q is not s3://bucket/prefix", place)
	}
	endpoint := cmp.Or(getenv("AWS_ENDPOINT_URL_S3"), getenv("AWS_ENDPOINT_URL"), "https://s3.amazonaws.com")
	e, err := url.Parse(endpoint)
	if err != nil || e.Host == "" || e.Scheme != "http" && e.Scheme != "https" {
		return nil, fmt.Errorf("checkpoints: the endpoint %q is not http://HOST[:PORT] or https://HOST[:PORT]", endpoint)
	}
	c, err := minio.New(e.Host, &minio.Options{
		Creds:      credentials.NewChainCredentials([]credentials.Provider{&credentials.EnvAWS{}, &credentials.FileAWSCredentials{}, &credentials.IAM{Client: &http.Client{Timeout: 5 * time.Second}}}),
		Secure:     e.Scheme == "https",
		Region:     cmp.Or(getenv("AWS_REGION"), getenv("AWS_DEFAULT_REGION")),
		MaxRetries: 4,
	})
	if err != nil {
		return nil, fmt.Errorf("checkpoints: %s: %w", place, err)
	}
	prefix := strings.Trim(u.Path, "/")
	if prefix != "" {
		prefix += "/"
	}
	return &s3{c, u.Host, prefix}, nil
}

// Put makes an object.
func (s *s3) Put(ctx context.Context, name string, r io.Reader, size int64) error {
	counted := &io.LimitedReader{R: r, N: size}
	// The body is not signed chunk by chunk, as over TLS it never is: not every server takes chunks apart in parts of large objects, or takes
	// a stream of nothing. What is damaged on its way is found by the manifest's sums.
	o := minio.PutObjectOptions{PartSize: partSize, NumThreads: 1, ContentType: "application/octet-stream", DisableContentSha256: true}
	info, err := s.c.PutObject(ctx, s.bucket, s.prefix+name, counted, size, o)
	if err == nil && (info.Size != size || counted.N != 0) {
		err = fmt.Errorf("%d bytes of %d came: %w", info.Size, size, io.ErrUnexpectedEOF)
	}
	return s.wrap(name, err)
}

// Get reads an object.
func (s *s3) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	o, err := s.c.GetObject(ctx, s.bucket, s.prefix+name, minio.GetObjectOptions{})
	if err == nil {
		if _, err = o.Stat(); err == nil {
			return o, nil
		}
		_ = o.Close()
	}
	return nil, s.wrap(name, err)
}

// List returns the names that begin with the prefix.
func (s *s3) List(ctx context.Context, prefix string) ([]string, error) {
	return s.list(ctx, prefix, true)
}

// Folders returns the folders right below the prefix.
func (s *s3) Folders(ctx context.Context, prefix string) ([]string, error) {
	return s.list(ctx, prefix, false)
}

func (s *s3) list(ctx context.Context, prefix string, deep bool) ([]string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var out []string
	for o := range s.c.ListObjects(ctx, s.bucket, minio.ListObjectsOptions{Prefix: s.prefix + prefix, Recursive: deep}) {
		if o.Err != nil {
			return nil, s.wrap(prefix, o.Err)
		}
		if deep || strings.HasSuffix(o.Key, "/") {
			out = append(out, strings.TrimPrefix(o.Key, s.prefix))
		}
	}
	return out, nil
}

// Remove takes an object away.
func (s *s3) Remove(ctx context.Context, name string) error {
	return s.wrap(name, s.c.RemoveObject(ctx, s.bucket, s.prefix+name, minio.RemoveObjectOptions{}))
}

func (s *s3) wrap(name string, err error) error {
	if err == nil {
		return nil
	}
	if r := minio.ToErrorResponse(err); r.Code == "NoSuchKey" {
		err = errors.Join(fs.ErrNotExist, err)
	}
	return fmt.Errorf("s3://%s/%s%s: %w", s.bucket, s.prefix, name, err)
}
