//! Generates the gRPC messages, clients and servers from `proto/ha.proto`.

fn main() -> std::io::Result<()> {
    println!("cargo::rerun-if-changed=proto/ha.proto");
    tonic_prost_build::configure().compile_protos(&["proto/ha.proto"], &["proto"])
}
