//! Cold start of the groups function.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    lambda_http::tracing::init_default_subscriber();
    gateway::run(groups::router(gateway::Gateway::from_env().await?)).await
}
