/* SPDX-License-Identifier: MIT
 * faiss_c: the functions of FAISS's C API that this folder calls, for systems whose FAISS comes
 * with the C headers but without libfaiss_c (Debian). Declarations are FAISS's own headers';
 * an object of the C API is a pointer to the C++ object. No exception passes: each function
 * returns the headers' error codes, and faiss_get_last_error() tells the reason. */
#include <exception>
#include <string>

#include <faiss/Clustering.h>
#include <faiss/IndexFlat.h>
#include <faiss/c_api/Clustering_c.h>
#include <faiss/c_api/IndexFlat_c.h>
#include <faiss/c_api/Index_c.h>
#include <faiss/c_api/error_c.h>
#include <faiss/impl/FaissException.h>

namespace
{
thread_local std::string last_error;

template <typename Function> int guarded(Function f)
{
    try {
        f();
        return OK;
    } catch (const faiss::FaissException &e) {
        last_error = e.what();
        return FAISS_EXCEPT;
    } catch (const std::exception &e) {
        last_error = e.what();
        return STD_EXCEPT;
    } catch (...) {
        last_error = "unknown exception";
        return UNKNOWN_EXCEPT;
    }
}

faiss::Clustering *cpp(FaissClustering *c)
{
    return reinterpret_cast<faiss::Clustering *>(c);
}

faiss::Index *cpp(FaissIndex *i)
{
    return reinterpret_cast<faiss::Index *>(i);
}
} // namespace

extern "C" {

const char *faiss_get_last_error()
{
    return last_error.c_str();
}

/* Declared in later releases only. */
const char *faiss_get_version()
{
    static const std::string version = std::to_string(FAISS_VERSION_MAJOR) + "." +
                                       std::to_string(FAISS_VERSION_MINOR) + "." +
                                       std::to_string(FAISS_VERSION_PATCH);
    return version.c_str();
}

/* ---- Clustering_c.h ---- */

void faiss_ClusteringParameters_init(FaissClusteringParameters *p)
{
    faiss::ClusteringParameters d;
    p->niter = d.niter;
    p->nredo = d.nredo;
    p->verbose = d.verbose;
    p->spherical = d.spherical;
    p->int_centroids = d.int_centroids;
    p->update_index = d.update_index;
    p->frozen_centroids = d.frozen_centroids;
    p->min_points_per_centroid = d.min_points_per_centroid;
    p->max_points_per_centroid = d.max_points_per_centroid;
    p->seed = d.seed;
    p->decode_block_size = d.decode_block_size;
}

int faiss_Clustering_new_with_params(FaissClustering **out, int d, int k,
                                     const FaissClusteringParameters *p)
{
    return guarded([=] {
        faiss::ClusteringParameters q;
        q.niter = p->niter;
        q.nredo = p->nredo;
        q.verbose = p->verbose;
        q.spherical = p->spherical;
        q.int_centroids = p->int_centroids;
        q.update_index = p->update_index;
        q.frozen_centroids = p->frozen_centroids;
        q.min_points_per_centroid = p->min_points_per_centroid;
        q.max_points_per_centroid = p->max_points_per_centroid;
        q.seed = p->seed;
        q.decode_block_size = p->decode_block_size;
        *out = reinterpret_cast<FaissClustering *>(new faiss::Clustering(d, k, q));
    });
}

void faiss_Clustering_free(FaissClustering *c)
{
    delete cpp(c);
}

int faiss_Clustering_train(FaissClustering *c, idx_t n, const float *x, FaissIndex *index)
{
    return guarded([=] { cpp(c)->train(n, x, *cpp(index)); });
}

void faiss_Clustering_centroids(FaissClustering *c, float **centroids, size_t *size)
{
    *centroids = cpp(c)->centroids.data();
    *size = cpp(c)->centroids.size();
}

/* ---- Index_c.h, IndexFlat_c.h ---- */

int faiss_IndexFlat_new_with(FaissIndexFlat **out, idx_t d, FaissMetricType metric)
{
    return guarded([=] {
        faiss::Index *i = new faiss::IndexFlat(d, static_cast<faiss::MetricType>(metric));
        *out = reinterpret_cast<FaissIndexFlat *>(i);
    });
}

void faiss_Index_free(FaissIndex *i)
{
    delete cpp(i);
}

int faiss_Index_add(FaissIndex *i, idx_t n, const float *x)
{
    return guarded([=] { cpp(i)->add(n, x); });
}

int faiss_Index_search(const FaissIndex *i, idx_t n, const float *x, idx_t k, float *distances,
                       idx_t *labels)
{
    return guarded(
        [=] { reinterpret_cast<const faiss::Index *>(i)->search(n, x, k, distances, labels); });
}
}
