/* mills_tables.h - written by tools/mills_tables.py, which tells what they are. */
#ifndef FD_MILLS_TABLES_H
#define FD_MILLS_TABLES_H

/* (z + 1) M(z), the constant first. */
static const double fd_mills[23] = {
0x1.28273b50efa76p+0, -0x1.d5fd8ffd0f26fp-3, 0x1.3e97eaf5f2f07p-4, 0x1.9ac85789172e3p-6,
-0x1.0f103e712db1fp-4, 0x1.f7d96e0bd321fp-5, -0x1.37838b3a483d9p-5, 0x1.0bd973d54e71dp-6,
-0x1.1355f486bf26ap-8, 0x1.47a73fac72f50p-16, 0x1.df3ec8646d521p-12, -0x1.19cb82625090fp-13,
-0x1.a02bbd72cb9b8p-16, 0x1.7cd4954d89ffap-16, -0x1.7b29762de7bbap-23, -0x1.b57ed34c06abap-19,
0x1.5879c22e42ccdp-22, 0x1.fb19e5d1b8c24p-22, -0x1.1bdfe515732c4p-24, -0x1.11ed8192ce7ffp-24,
0x1.3b6221fd0b0eap-27, 0x1.7b6e985aee252p-28, -0x1.8d88cc50831a2p-31,
};

/* The deviate over r + 2, to 2e-5 of the deviate. */
static const double fd_deviate_guess[9] = {
0x1.0b802e1a522d3p-1, 0x1.1bb1dcae7880ap+0, -0x1.33f692be7cb00p-2, 0x1.2e7036dcdc8bep-3,
-0x1.a2080034a3462p-4, 0x1.38ae7cd0c21dfp-4, -0x1.15f5e227b0813p-4, 0x1.7f31ac0b925bcp-5,
-0x1.0d8bb54a4585cp-6,
};

/* Gauss and Legendre's nodes on [0, 1]. */
static const double fd_gauss_node[32] = {
0x1.66a18fbf64a0fp-10, 0x1.d77b63ad0c91bp-8, 0x1.20aae7fac455ap-6, 0x1.0a9fed30405eep-5,
0x1.a8ab25d459a36p-5, 0x1.347ec0a5e57b4p-4, 0x1.a4e5adf8ed0ebp-4, 0x1.123ed9c52d88dp-3,
0x1.590aec76f00edp-3, 0x1.a62dd72d3a6b8p-3, 0x1.f8ef3af329ac5p-3, 0x1.2844a541c8387p-2,
0x1.5615518d42105p-2, 0x1.857c20798fdadp-2, 0x1.b607c563a0372p-2, 0x1.e74437b7733b6p-2,
0x1.0c5de42446625p-1, 0x1.24fc1d4e2fe47p-1, 0x1.3d41efc338129p-1, 0x1.54f557395ef7dp-1,
0x1.6bddad5f1be3cp-1, 0x1.81c431433594fp-1, 0x1.96748a34b1652p-1, 0x1.a9bd44e243fc5p-1,
0x1.bb70498eb49ddp-1, 0x1.cb634a40e25e3p-1, 0x1.d97027eb43509p-1, 0x1.e5754da2ba65dp-1,
0x1.ef56012cfbfa1p-1, 0x1.f6faa8c029dd5p-1, 0x1.fc510938a5e6ep-1, 0x1.ff4caf38204dbp-1,
};

/* And their weights. */
static const double fd_gauss_weight[32] = {
0x1.cbf8bc743cc5cp-9, 0x1.0aa3c248696c9p-7, 0x1.a0060a8531ffap-7, 0x1.18c5800a355d9p-6,
0x1.5ee963a335495p-6, 0x1.a1c6ae961fbfap-6, 0x1.e0bd76c924981p-6, 0x1.0d9b9a62cac10p-5,
0x1.2854103b35e0cp-5, 0x1.40483e126fd14p-5, 0x1.553ee25ebebc6p-5, 0x1.6705e18e13ed1p-5,
0x1.7572bdb3f6e51p-5, 0x1.8062fc0f6fef9p-5, 0x1.87bc776f8c6d7p-5, 0x1.8b6d9eaec77adp-5,
0x1.8b6d9eaec77adp-5, 0x1.87bc776f8c6d7p-5, 0x1.8062fc0f6fef9p-5, 0x1.7572bdb3f6e51p-5,
0x1.6705e18e13ed1p-5, 0x1.553ee25ebebc6p-5, 0x1.40483e126fd14p-5, 0x1.2854103b35e0cp-5,
0x1.0d9b9a62cac10p-5, 0x1.e0bd76c924981p-6, 0x1.a1c6ae961fbfap-6, 0x1.5ee963a335495p-6,
0x1.18c5800a355d9p-6, 0x1.a0060a8531ffap-7, 0x1.0aa3c248696c9p-7, 0x1.cbf8bc743cc5cp-9,
};

#endif
