package store

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
)

// ErrDamaged is returned, wrapped, where a record is not what was written.
var ErrDamaged = errors.New("it is not what was written, so the file is damaged: restore it, or move it away to start anew")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A sum is the CRC-32C of a row: of its table's name and its columns in their order, numbers as 8 bytes, texts after their length.
type sum uint32

func sumOf(table string) sum { return sum(0).text(table) }

func (s sum) number(v int64) sum {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], uint64(v))
	return sum(crc32.Update(uint32(s), castagnoli, b[:]))
}

func (s sum) bytes(b []byte) sum {
	return sum(crc32.Update(uint32(s.number(int64(len(b)))), castagnoli, b))
}

func (s sum) text(t string) sum { return s.bytes([]byte(t)) }

func (b *Batch) sum() int64 {
	return int64(sumOf("batch").number(b.No).number(int64(b.At)).bytes(b.Facts))
}

func (j *Job) sum() int64 {
	return int64(sumOf("job").number(int64(j.ID)).number(int64(j.First)).number(int64(j.Tasks)).number(int64(j.UID)).number(int64(j.Submit)).text(j.Name).bytes(j.Spec))
}

func (a *Attempt) sum() int64 {
	return int64(sumOf("attempt").number(int64(a.Task)).number(int64(a.N)).number(int64(a.Start)).number(int64(a.End)).number(int64(a.Code)).text(a.How).text(a.Placed))
}

func sumOfMeta(key string, value []byte) int64 { return int64(sumOf("meta").text(key).bytes(value)) }

// addSums gives the rows of a file of version 1 their checksums: what they hold is taken for what was written.
func addSums(ctx context.Context, conn *sql.Conn) error {
	err := addTo(ctx, conn, "meta", "key, value", []string{"key"}, []any{""}, func(rows *sql.Rows) (int64, []any, error) {
		var key string
		var value []byte
		err := rows.Scan(&key, &value)
		return sumOfMeta(key, value), []any{key}, err
	})
	if err == nil {
		err = addTo(ctx, conn, "batch", "no, at_ns, facts", []string{"no"}, []any{-1}, func(rows *sql.Rows) (int64, []any, error) {
			var b Batch
			err := rows.Scan(&b.No, &b.At, &b.Facts)
			return b.sum(), []any{b.No}, err
		})
	}
	if err == nil {
		err = addTo(ctx, conn, "job", strings.TrimSuffix(jobColumns, ", sum"), []string{"id"}, []any{-1}, func(rows *sql.Rows) (int64, []any, error) {
			var j Job
			err := rows.Scan(&j.ID, &j.First, &j.Tasks, &j.UID, &j.Submit, &j.Name, &j.Spec)
			return j.sum(), []any{int64(j.ID)}, err
		})
	}
	if err == nil {
		err = addTo(ctx, conn, "attempt", strings.TrimSuffix(attemptColumns, ", sum"), []string{"task", "n"}, []any{-1, -1}, func(rows *sql.Rows) (int64, []any, error) {
			var a Attempt
			err := rows.Scan(&a.Task, &a.N, &a.Start, &a.End, &a.Code, &a.How, &a.Placed)
			return a.sum(), []any{int64(a.Task), int64(a.N)}, err
		})
	}
	return err
}

// addTo gives the rows of a table whose key is more than last their checksums, which row reads them by, with their keys.
func addTo(ctx context.Context, conn *sql.Conn, table, columns string, key []string, last []any, row func(*sql.Rows) (sum int64, key []any, err error)) error {
	keys, marks := strings.Join(key, ", "), strings.TrimSuffix(strings.Repeat("?, ", len(key)), ", ")
	read := fmt.Sprintf("SELECT %s FROM %s WHERE (%s) > (%s) ORDER BY %s LIMIT %d", columns, table, keys, marks, keys, pageRows)
	write := fmt.Sprintf("UPDATE %s SET sum = ? WHERE (%s) = (%s)", table, keys, marks)
	for {
		var page [][]any // sum and key
		rows, err := conn.QueryContext(ctx, read, last...)
		if err != nil {
			return err
		}
		for rows.Next() {
			sum, key, err := row(rows)
			if err != nil {
				return errors.Join(fmt.Errorf("%s after %v: %w", table, last, err), rows.Close())
			}
			page, last = append(page, append([]any{sum}, key...)), key
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			return err
		}
		for _, args := range page {
			if _, err := conn.ExecContext(ctx, write, args...); err != nil {
				return err
			}
		}
		if len(page) < pageRows {
			return nil
		}
	}
}
