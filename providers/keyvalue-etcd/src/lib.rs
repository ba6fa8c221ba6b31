//! Key-value buckets for components: the provider that keeps them in etcd.
