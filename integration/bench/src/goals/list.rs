//! The goals themselves.

use super::Limit::{AtLeast, AtMost};
use super::Measured::{Cpu, Least, Messages, Share, Tail, Value};
use super::{Goal, goal};
use crate::abort;

/// How long the loads of `overload_*` have to last, and the storm of `abort_storm`, in seconds.
const OVERLOAD: f64 = 60.0;
const STORM: f64 = 600.0;

pub(super) const GOALS: &[Goal] = &[
    goal(
        "HTTP to a component, all in the host, against `wasmtime serve`, 32 connections",
        Share("http_component_local", "wasmtime_serve"),
        AtLeast(3.0),
        "x",
    ),
    goal(
        "the same, 8 connections",
        Share("http_component_local_8", "wasmtime_serve_8"),
        AtLeast(3.0),
        "x",
    ),
    goal(
        "its p99 against that of `wasmtime serve`, 32 connections",
        Tail("http_component_local", "wasmtime_serve"),
        AtMost(1.0),
        "x",
    ),
    goal(
        "its p99 against that of `wasmtime serve`, 8 connections",
        Tail("http_component_local_8", "wasmtime_serve_8"),
        AtMost(1.0),
        "x",
    ),
    goal(
        "its CPU time per request",
        Cpu("http_component_local"),
        AtMost(17.0),
        "us",
    ),
    goal(
        "HTTP to a component, all in the host, against plain hyper",
        Share("http_component_local", "hyper_hello"),
        AtLeast(0.5),
        "x",
    ),
    goal(
        "the same with instance reuse, against it without",
        Share("http_component_reuse", "http_component_local"),
        AtLeast(1.2),
        "x",
    ),
    goal(
        "HTTP and one increment, all in the host, against HTTP alone",
        Share("http_counter_local", "http_component_local"),
        AtLeast(0.85),
        "x",
    ),
    goal(
        "its CPU time per request",
        Cpu("http_counter_local"),
        AtMost(20.0),
        "us",
    ),
    goal(
        "HTTP provider in a process of its own, over NATS: CPU time per request",
        Cpu("http_component_bus"),
        AtMost(45.0),
        "us",
    ),
    goal(
        "its NATS messages per request",
        Messages("http_component_bus"),
        AtMost(2.0),
        "",
    ),
    goal(
        "the same over the Unix socket: CPU time per request",
        Cpu("http_component_socket"),
        AtMost(35.0),
        "us",
    ),
    goal(
        "HTTP and Redis providers in processes of their own, over NATS: CPU time per request",
        Cpu("http_counter_bus"),
        AtMost(80.0),
        "us",
    ),
    goal(
        "its NATS messages per request",
        Messages("http_counter_bus"),
        AtMost(4.0),
        "",
    ),
    goal(
        "component call over NATS, without proof of who calls, against bare request and reply, 1 \
         in flight",
        Share("component_call_1", "bus_1"),
        AtLeast(0.8),
        "x",
    ),
    goal(
        "the same, 16 in flight",
        Share("component_call_16", "bus_16"),
        AtLeast(0.8),
        "x",
    ),
    goal(
        "the same, 64 in flight",
        Share("component_call_64", "bus_64"),
        AtLeast(0.8),
        "x",
    ),
    goal(
        "calls that prove who makes them, against those that do not, 1 in flight",
        Share("component_call_proven_1", "component_call_1"),
        AtLeast(0.9),
        "x",
    ),
    goal(
        "the same, 16 in flight",
        Share("component_call_proven_16", "component_call_16"),
        AtLeast(0.9),
        "x",
    ),
    goal(
        "the same, 64 in flight",
        Share("component_call_proven", "component_call"),
        AtLeast(0.9),
        "x",
    ),
    goal(
        "calls that prove who makes them, against bare request and reply, 1 in flight",
        Share("component_call_proven_1", "bus_1"),
        AtLeast(0.8),
        "x",
    ),
    goal(
        "the same, 16 in flight",
        Share("component_call_proven_16", "bus_16"),
        AtLeast(0.8),
        "x",
    ),
    goal(
        "the same, 64 in flight",
        Share("component_call_proven", "bus_request_reply"),
        AtLeast(0.8),
        "x",
    ),
    goal(
        "64 KiB `list<u8>` from component to component in one process",
        Value("list_64k_local"),
        AtMost(20.0),
        "us",
    ),
    goal(
        "64 KiB `list<u8>` over NATS against bare NATS with that size",
        Share("list_64k_bus", "bus_64k"),
        AtLeast(0.7),
        "x",
    ),
    goal(
        "component to component in one process, instantiation included",
        Value("component_to_component"),
        AtMost(10.0),
        "us",
    ),
    goal(
        "cold start with cached code, file to first answer",
        Value("cold_start_cached"),
        AtMost(5.0),
        "ms",
    ),
    goal(
        "restart of a host with 50 components",
        Value("restart_50"),
        AtMost(200.0),
        "ms",
    ),
    goal(
        "host with 10,000 idle components",
        Value("idle_10000_total"),
        AtMost(1024.0),
        "MiB",
    ),
    goal(
        "an active component beside them, against one on a host without them",
        Share("idle_10000_active", "idle_0_active"),
        AtLeast(0.95),
        "x",
    ),
    goal(
        "calls per CPU second of 2, 4 and 8 hosts, whichever has the least, against 1",
        Least(
            &["scale_2_hosts", "scale_4_hosts", "scale_8_hosts"],
            "scale_1_host",
        ),
        AtLeast(0.9),
        "x",
    ),
    goal(
        "least goodput at one to five times the capacity, against the peak",
        Share("overload_goodput", "overload_peak"),
        AtLeast(0.9),
        "x",
    )
    .over(OVERLOAD),
    goal(
        "recovery after the load has dropped from five times the capacity to half of it",
        Value("overload_recovery"),
        AtMost(2000.0),
        "ms",
    ),
    goal(
        "greatest p99 of accepted requests at one to five times the capacity, against half of it",
        Share("overload_p99", "overload_p99_unloaded"),
        AtMost(3.0),
        "x",
    )
    .over(OVERLOAD),
    goal(
        "left after clients have left in mid-request: subscriptions, tasks, files, permits",
        Value("abort_storm"),
        AtMost(0.0),
        "",
    )
    .over(STORM),
    goal(
        "by how much host and provider have grown for each of these clients",
        Value("abort_storm_memory_each"),
        AtMost(abort::EACH as f64),
        "B",
    )
    .over(STORM),
    goal(
        "by how much in all",
        Value("abort_storm_memory"),
        AtMost((abort::AT_MOST >> 20) as f64),
        "MiB",
    )
    .over(STORM),
    goal(
        "traces exported, one request in a hundred, against none",
        Share("tracing_sampled", "tracing_off"),
        AtLeast(0.95),
        "x",
    ),
];
