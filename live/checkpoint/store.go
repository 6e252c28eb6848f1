package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/schedlab/schedlab/live/failpoint"
	"github.com/schedlab/schedlab/live/stage"
)

// Store keeps objects under slash-separated names. Its methods may be called from any goroutine. An error that wraps fs.ErrNotExist says
// that an object is not there; any other that this is not known.
type Store interface {
	// Put makes an object of the next size bytes of r, whole or not at all, in the place of one that is there. When it returns nil the
	// object is durable.
	Put(ctx context.Context, name string, r io.Reader, size int64) error
	// Get reads an object. The caller closes it.
	Get(ctx context.Context, name string) (io.ReadCloser, error)
	// List returns the names that begin with the prefix, a folder's name with its slash or "", in their order.
	List(ctx context.Context, prefix string) ([]string, error)
	// Folders returns the names of the folders right below the prefix, with their slashes.
	Folders(ctx context.Context, prefix string) ([]string, error)
	// Remove takes an object away; that it is not there is no error.
	Remove(ctx context.Context, name string) error
}

// Open returns the store at a place: an absolute path of a folder, or s3://bucket/prefix. It does not look whether the place is there.
func Open(place string) (Store, error) {
	if strings.HasPrefix(place, "s3://") {
		return openS3(place, os.Getenv)
	}
	if !filepath.IsAbs(place) {
		return nil, fmt.Errorf("checkpoints: %q is neither an absolute path nor s3://bucket/prefix", place)
	}
	return Folder(place), nil
}

// Folder is a Store in a folder of this path, which is made with the first object. An object is a file, synced before it gets its name.
type Folder string

func (f Folder) at(name string) string { return filepath.Join(string(f), filepath.FromSlash(name)) }

// partial ends the names of files that are not whole.
const partial = ".part"

// Put makes an object.
func (f Folder) Put(ctx context.Context, name string, r io.Reader, size int64) (err error) {
	at := f.at(name)
	if err := makeFolder(filepath.Dir(at)); err != nil {
		return err
	}
	w, err := os.OpenFile(at+partial, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(w.Name())
		}
	}()
	n, _, err := stage.Copy(ctx, w, r, size)
	if err == nil && n != size {
		err = fmt.Errorf("%s: %d bytes of %d came: %w", name, n, size, io.ErrUnexpectedEOF)
	}
	if err = errors.Join(err, w.Sync(), w.Close()); err != nil {
		return err
	}
	failpoint.Hit("checkpoint-renaming")
	if err := os.Rename(w.Name(), at); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(at))
}

// makeFolder makes a folder durably with those above it.
func makeFolder(dir string) error {
	switch err := os.Mkdir(dir, 0o700); {
	case err == nil:
		return syncFolder(filepath.Dir(dir))
	case errors.Is(err, fs.ErrExist):
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := makeFolder(filepath.Dir(dir)); err != nil {
		return err
	}
	return makeFolder(dir)
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Get reads an object.
func (f Folder) Get(_ context.Context, name string) (io.ReadCloser, error) {
	return os.Open(f.at(name))
}

// List returns the names that begin with the prefix. What a process that died has left of an object is among them, under a name of its own.
func (f Folder) List(_ context.Context, prefix string) ([]string, error) {
	var out []string
	err := filepath.WalkDir(f.at(prefix), func(p string, e fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case e.Type().IsRegular():
			rel, err := filepath.Rel(string(f), p)
			if err != nil {
				return err
			}
			out = append(out, filepath.ToSlash(rel))
		}
		return nil
	})
	slices.Sort(out)
	return out, err
}

// Folders returns the folders right below the prefix.
func (f Folder) Folders(_ context.Context, prefix string) ([]string, error) {
	entries, err := os.ReadDir(f.at(prefix))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var out []string
	for _, e := range entries {
		if e.IsDir() {
			out = append(out, path.Join(prefix, e.Name())+"/")
		}
	}
	return out, err
}

// Remove takes an object away, and the folders that this leaves empty.
func (f Folder) Remove(_ context.Context, name string) error {
	at := f.at(name)
	if err := os.Remove(at); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for dir := filepath.Dir(at); len(dir) > len(f) && os.Remove(dir) == nil; dir = filepath.Dir(dir) {
	}
	return nil
}
