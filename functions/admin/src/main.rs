//! Cold start of the directories function.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    lambda_http::tracing::init_default_subscriber();
    gateway::run(admin::router(gateway::Gateway::from_env().await?)).await
}
