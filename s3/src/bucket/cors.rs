//! Which pages of other origins may use a bucket: a document of its record.

use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, StatusCode};
use s3s::dto::{
    CORSConfiguration, DeleteBucketCorsInput, DeleteBucketCorsOutput, GetBucketCorsInput, GetBucketCorsOutput, PutBucketCorsInput,
    PutBucketCorsOutput,
};
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};
use types::records::BucketDocument;

use crate::cors::Asked;
use crate::records::{document, document_of};
use crate::{Gateway, cors};

/// The rules.
pub async fn get(gateway: &Gateway, req: S3Request<GetBucketCorsInput>) -> S3Result<GetBucketCorsOutput> {
    let bucket = gateway.bucket(&req.input.bucket).await?;
    match document::<CORSConfiguration>(&bucket, BucketDocument::Cors)? {
        Some(CORSConfiguration { cors_rules }) => Ok(GetBucketCorsOutput { cors_rules: Some(cors_rules) }),
        None => Err(s3_error!(NoSuchCORSConfiguration, "The CORS configuration does not exist")),
    }
}

/// Replaces them.
pub async fn put(gateway: &Gateway, req: S3Request<PutBucketCorsInput>) -> S3Result<PutBucketCorsOutput> {
    let bucket = gateway.bucket(&req.input.bucket).await?;
    let rules = req.input.cors_configuration;
    if rules.cors_rules.is_empty() {
        return Err(s3_error!(MalformedXML, "The XML you provided was not well-formed or did not validate against our published schema"));
    }
    if let Some(problem) = cors::problem(&rules) {
        return Err(S3Error::with_message(S3ErrorCode::InvalidRequest, problem));
    }
    gateway.set_document(&bucket, BucketDocument::Cors, Some(document_of(&rules))).await?;
    Ok(PutBucketCorsOutput {})
}

/// Takes them away.
pub async fn delete(gateway: &Gateway, req: S3Request<DeleteBucketCorsInput>) -> S3Result<S3Response<DeleteBucketCorsOutput>> {
    let bucket = gateway.bucket(&req.input.bucket).await?;
    gateway.set_document(&bucket, BucketDocument::Cors, None).await?;
    Ok(S3Response::with_status(DeleteBucketCorsOutput {}, hyper::StatusCode::NO_CONTENT))
}

/// What a request of another origin's page comes to.
pub enum CrossOrigin {
    /// It is none, or nothing is told.
    None,
    /// Its answer carries these.
    Told(HeaderMap),
    /// It is a question before the request itself, answered by these.
    Preflight(HeaderMap),
}

impl Gateway {
    /// Looks whether a page of another origin asks, and what it is told.
    ///
    /// # Errors
    /// Those of a preflight that is refused.
    pub(crate) async fn cross_origin(&self, request: &Parts) -> S3Result<CrossOrigin> {
        let is_preflight = request.method == Method::OPTIONS;
        let Some(asked) = Asked::of(&request.method, &request.headers) else {
            return if is_preflight {
                Err(insufficient("Insufficient information. Origin request header needed."))
            } else {
                Ok(CrossOrigin::None)
            };
        };
        if !asked.names_method() {
            return Err(insufficient("Invalid Access-Control-Request-Method: null"));
        }
        let name = request.uri.path().trim_start_matches('/').split('/').next().unwrap_or_default();
        let bucket = self.records().await?.buckets.get(name).cloned();
        let rules = bucket.map(|bucket| document::<CORSConfiguration>(&bucket, BucketDocument::Cors)).transpose()?.flatten();
        let told = rules.as_ref().and_then(|rules| asked.answer(rules));
        match (told, is_preflight) {
            (Some(told), true) => Ok(CrossOrigin::Preflight(told)),
            (Some(told), false) => Ok(CrossOrigin::Told(told)),
            (None, false) => Ok(CrossOrigin::None),
            (None, true) if rules.is_none() => Err(forbidden("CORSResponse: CORS is not enabled for this bucket.")),
            (None, true) => Err(forbidden(
                "CORSResponse: This CORS request is not allowed. This is usually because the evalution of Origin, request method / \
                 Access-Control-Request-Method or Access-Control-Request-Headers are not whitelisted by the resource's CORS spec.",
            )),
        }
    }
}

fn insufficient(words: &'static str) -> S3Error {
    let mut error = S3Error::with_message(S3ErrorCode::Custom("BadRequest".into()), words);
    error.set_status_code(StatusCode::BAD_REQUEST);
    error
}

fn forbidden(words: &'static str) -> S3Error {
    let mut error = S3Error::with_message(S3ErrorCode::Custom("AccessForbidden".into()), words);
    error.set_status_code(StatusCode::FORBIDDEN);
    error
}
