// The least that a simulation of a batch log costs: read a Standard Workload Format file, run it on one pool of processors first come
// first served or under EASY backfilling, print the mean wait. It is the bound that `make bench` holds `schedlab run` against, and no more
// than that: no policy to plug in, no nodes, no metrics but one, no word about a malformed line, whole seconds only.
//
//   g++ -O2 -o floor floor.cc
//   ./floor fcfs|easy LOG.swf PROCESSORS [starts]     starts: print each job's number and start instead of the mean
//
// Requested times must not be below run times: what EASY makes of a job past its estimate is not here.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <queue>
#include <utility>
#include <vector>

struct Job {
  int64_t submit, run, request;  // seconds
  int32_t procs, number;
  int64_t start;
};

// parse reads a log by hand, one pass over its bytes. Of the 18 columns it keeps five.
static std::vector<Job> parse(const char *path) {
  FILE *f = fopen(path, "rb");
  if (!f) {
    perror(path);
    exit(1);
  }
  std::vector<Job> jobs;
  std::vector<char> buf(1 << 16);
  size_t from = 0, to = 0;
  for (bool more = true; more || from < to;) {
    // The next line lies in buf[from:end].
    char *end = static_cast<char *>(memchr(buf.data() + from, '\n', to - from));
    if (!end && more) {
      memmove(buf.data(), buf.data() + from, to - from);
      to -= from;
      from = 0;
      if (to == buf.size()) buf.resize(2 * buf.size());
      size_t n = fread(buf.data() + to, 1, buf.size() - to, f);
      more = n > 0;
      to += n;
      continue;
    }
    const char *p = buf.data() + from, *stop = end ? end : buf.data() + to;
    from = stop - buf.data() + 1;
    int64_t cell[18];
    int n = 0;
    while (p < stop && n < 18) {
      while (p < stop && (*p == ' ' || *p == '\t' || *p == '\r')) p++;
      if (p == stop || *p == ';') break;
      bool negative = *p == '-';
      p += negative;
      int64_t v = 0;
      while (p < stop && *p != ' ' && *p != '\t' && *p != '\r') v = 10 * v + (*p++ - '0');
      cell[n++] = negative ? -v : v;
    }
    if (n < 18) continue;
    Job j{cell[1], cell[3], cell[8], static_cast<int32_t>(cell[7] > 0 ? cell[7] : cell[4]), static_cast<int32_t>(cell[0]), 0};
    if (j.request <= 0) j.request = j.run;
    if (j.run > 0 && j.procs > 0) jobs.push_back(j);
  }
  fclose(f);
  auto earlier = [](const Job &a, const Job &b) { return a.submit < b.submit; };
  if (!std::is_sorted(jobs.begin(), jobs.end(), earlier)) std::stable_sort(jobs.begin(), jobs.end(), earlier);
  return jobs;
}

using End = std::pair<int64_t, int32_t>;  // time, job
using Ends = std::priority_queue<End, std::vector<End>, std::greater<End>>;

// fcfs starts jobs strictly in the order of the log, each as soon as there is room.
static void fcfs(std::vector<Job> &jobs, int32_t free) {
  Ends ends;
  int64_t now = 0;
  for (size_t i = 0; i < jobs.size(); i++) {
    Job &j = jobs[i];
    now = std::max(now, j.submit);
    while (free < j.procs) {
      now = std::max(now, ends.top().first);
      free += jobs[ends.top().second].procs;
      ends.pop();
    }
    j.start = now;
    free -= j.procs;
    ends.push({now + j.run, static_cast<int32_t>(i)});
  }
}

// easy gives the head of the line a reservation at the earliest requested end that makes room, and lets others pass that do not delay it.
static void easy(std::vector<Job> &jobs, int32_t free) {
  Ends ends;
  std::vector<End> expected;  // running jobs by requested end
  std::vector<int32_t> line;  // waiting jobs in order of arrival
  size_t next = 0;
  int64_t now = 0;
  auto start = [&](int32_t i) {
    Job &j = jobs[i];
    j.start = now;
    free -= j.procs;
    ends.push({now + j.run, i});
    End e{now + j.request, i};
    expected.insert(std::lower_bound(expected.begin(), expected.end(), e), e);
  };
  while (next < jobs.size() || !ends.empty()) {
    // All ends and then all arrivals of one instant, then one decision.
    now = next == jobs.size() ? ends.top().first : ends.empty() ? jobs[next].submit : std::min(ends.top().first, jobs[next].submit);
    for (; !ends.empty() && ends.top().first == now; ends.pop()) {
      int32_t i = ends.top().second;
      free += jobs[i].procs;
      expected.erase(std::lower_bound(expected.begin(), expected.end(), End{jobs[i].start + jobs[i].request, i}));
    }
    for (; next < jobs.size() && jobs[next].submit == now; next++) line.push_back(static_cast<int32_t>(next));

    size_t head = 0;
    while (head < line.size() && jobs[line[head]].procs <= free) start(line[head++]);
    line.erase(line.begin(), line.begin() + head);
    if (line.size() < 2 || free == 0) continue;

    // The shadow time, and what is free at it beside the head.
    int64_t shadow = 0;
    int32_t extra = free - jobs[line[0]].procs;
    for (size_t i = 0; i < expected.size() && (extra < 0 || expected[i].first == shadow); i++) {
      shadow = expected[i].first;
      extra += jobs[expected[i].second].procs;
    }
    size_t kept = 1;
    for (size_t i = 1; i < line.size(); i++) {
      const Job &j = jobs[line[i]];
      bool ends_in_time = now + j.request <= shadow;
      if (j.procs <= free && (ends_in_time || j.procs <= extra)) {
        if (!ends_in_time) extra -= j.procs;
        start(line[i]);
      } else {
        line[kept++] = line[i];
      }
    }
    line.resize(kept);
  }
}

int main(int argc, char **argv) {
  if (argc < 4 || (strcmp(argv[1], "fcfs") && strcmp(argv[1], "easy"))) {
    fprintf(stderr, "usage: %s fcfs|easy LOG.swf PROCESSORS [starts]\n", argv[0]);
    return 2;
  }
  std::vector<Job> jobs = parse(argv[2]);
  int32_t procs = atoi(argv[3]);
  for (const Job &j : jobs) {
    if (j.procs > procs || j.request < j.run) {
      fprintf(stderr, "job %d: more processors than there are, or a request below the run time\n", j.number);
      return 1;
    }
  }
  (strcmp(argv[1], "fcfs") ? easy : fcfs)(jobs, procs);
  if (argc > 4) {
    for (const Job &j : jobs) printf("%d %lld\n", j.number, static_cast<long long>(j.start));
    return 0;
  }
  double wait = 0;
  for (const Job &j : jobs) wait += static_cast<double>(j.start - j.submit);
  printf("mean wait %.3f s of %zu jobs\n", jobs.empty() ? 0 : wait / static_cast<double>(jobs.size()), jobs.size());
}
