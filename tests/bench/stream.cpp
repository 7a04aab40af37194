// SPDX-License-Identifier: LGPL-2.1-or-later
// The two ends of tests/bench/network: bytes per second of one TCP connection.
// Usage: vz-stream serve CPU SECONDS       prints its port, then bytes per second, all bytes, and its
// processor time
//        vz-stream send CPU ADDRESS PORT   until the other end hangs up; prints its processor time
#include <arpa/inet.h>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sched.h>
#include <string>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

[[noreturn]] void stop(const char* what) {
    std::perror(what);
    std::exit(1);
}

int need(int result, const char* what) {
    if (result < 0)
        stop(what);
    return result;
}

/** Two ends on a processor each: where the scheduler puts them decides more than what is measured. */
void stayOn(const char* cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(static_cast<unsigned>(std::atoi(cpu)), &set);
    need(::sched_setaffinity(0, sizeof set, &set), "sched_setaffinity");
}

double seconds(Clock::duration duration) {
    return std::chrono::duration<double>(duration).count();
}

double processorTime() {
    rusage used{};
    need(::getrusage(RUSAGE_SELF, &used), "getrusage");
    auto of = [](const timeval& time) {
        return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
    };
    return of(used.ru_utime) + of(used.ru_stime);
}

size_t drain(int stream, std::vector<char>& buffer, double time) {
    size_t count = 0;
    for (auto begin = Clock::now(); seconds(Clock::now() - begin) < time;) {
        auto got = ::recv(stream, buffer.data(), buffer.size(), 0);
        if (got <= 0)
            stop("recv");
        count += static_cast<size_t>(got);
    }
    return count;
}

void serve(double time) {
    int server = need(::socket(AF_INET, SOCK_STREAM, 0), "socket");
    sockaddr_in address{};
    address.sin_family = AF_INET;
    socklen_t size = sizeof address;
    need(::bind(server, reinterpret_cast<sockaddr*>(&address), size), "bind");
    need(::listen(server, 1), "listen");
    need(::getsockname(server, reinterpret_cast<sockaddr*>(&address), &size), "getsockname");
    std::printf("%d\n", ntohs(address.sin_port));
    std::fflush(stdout);
    ::alarm(20);
    int stream = need(::accept(server, nullptr, nullptr), "accept");
    std::vector<char> buffer(1 << 20);
    auto before = static_cast<double>(drain(stream, buffer, 0.2)); // until the window is open
    auto begin = Clock::now();
    auto count = static_cast<double>(drain(stream, buffer, time));
    std::printf("%.0f %.0f %.6f\n", count / seconds(Clock::now() - begin), before + count, processorTime());
}

void send(const char* host, const char* port) {
    ::signal(SIGPIPE, SIG_IGN);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(std::atoi(port)));
    if (::inet_pton(AF_INET, host, &address.sin_addr) != 1)
        stop(host);
    int stream = need(::socket(AF_INET, SOCK_STREAM, 0), "socket");
    need(::connect(stream, reinterpret_cast<sockaddr*>(&address), sizeof address), "connect");
    std::vector<char> block(128 << 10);
    while (::send(stream, block.data(), block.size(), 0) > 0) {
    }
    std::printf("%.6f\n", processorTime());
}

} // namespace

int main(int count, char** arguments) {
    std::string use = count > 1 ? arguments[1] : "";
    if (use == "serve" && count == 4) {
        stayOn(arguments[2]);
        serve(std::atof(arguments[3]));
    } else if (use == "send" && count == 5) {
        stayOn(arguments[2]);
        send(arguments[3], arguments[4]);
    } else {
        std::fputs("usage: vz-stream serve CPU SECONDS | send CPU ADDRESS PORT\n", stderr);
        return 2;
    }
    return 0;
}
