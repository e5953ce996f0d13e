//! A toy module: what an SVSM would start as its first process.
fn main() {
    println!("hello from userinit");
}
