//! Writes the pages of `docs/` that come from the code. See [`gateway_tests::docs`].

use anyhow::{Context, Result};
use gateway_tests::docs;

fn main() -> Result<()> {
    for page in docs::pages() {
        if page.is_fresh() {
            println!("{} is up to date", page.path);
            continue;
        }
        page.write()
            .with_context(|| format!("cannot write {}", page.path))?;
        println!("{} written", page.path);
    }
    Ok(())
}
