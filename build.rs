//! A new migration file changes what is built in, and only the folder shows it.

fn main() {
    println!("cargo:rerun-if-changed=supabase/migrations");
}
